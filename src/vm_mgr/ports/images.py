"""Look at disk image files of this machine."""

from collections.abc import Callable
from typing import Protocol

from vm_mgr.model.package import Package
from vm_mgr.model.storage import ImageFile, ImagePart

__all__ = ["Images"]


class Images(Protocol):
    """Files that are to be imported."""

    def inspect(self, image: str | ImagePart, image_format: str | None = None) -> ImageFile:
        """Recognise an image by its content; a raw disk without any signature needs the format.

        Raises NOT_FOUND for no file; WRONG_STATE for one that a program has open for writing; INVALID for
        an empty one, for what is no image or packed, for a format that the content contradicts, for an
        encrypted one, for one that is cut short or damaged, as far as its tables tell, and for one that takes
        its content from further files: those could be any of this machine's.
        """
        ...

    def package(self, path: str) -> Package:
        """Read an OVA, or an OVF and what is beside it.

        Raises NOT_FOUND for no file; INVALID for what is neither, for one that is cut short, and for names
        and kinds of files that could lead out of the package.
        """
        ...

    def check_package(self, package: Package, on_progress: Callable[[float], None]) -> None:
        """Compare the files with the sums of the manifest; raises INVALID. Progress goes from 0 to 1."""
        ...

"""Look at disk image files of this machine."""

from typing import Protocol

from vm_mgr.model.storage import ImageFile

__all__ = ["Images"]


class Images(Protocol):
    """Files that are to be imported."""

    def inspect(self, path: str, image_format: str | None = None) -> ImageFile:
        """Recognise an image by its content; a raw one has no signature, so its format must be given.

        Raises NOT_FOUND for no file; INVALID for an empty one, for what is no image or of another format, for
        one that is cut short or damaged, as far as its tables tell, and for one that takes its content from
        further files: those could be any of this machine's.
        """
        ...

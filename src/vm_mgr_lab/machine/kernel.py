"""The kernel of nodes that have one of their own: User-Mode Linux, from one package pinned by its hash.

Debian 13's own version stops at the first process on processors with AMX; the one of unstable runs. It is
taken alone: it needs no more than Debian 13's C library, and a newer one is a reviewed change of two lines.
"""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.image import debian_mirror
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import run

__all__ = ["own_kernel"]

Say = Callable[[str], None]

VERSION = "7.2um1"
SHA256 = "f947c9244fd79d481299df2ad68961f6b3b7703bff38c4b0e726f861161da62c"
# What a node of this kind has beside its image.
LAYER = Path(__file__).parent / "layer"
# The image is made for containers, which load no modules.
UNMASKED = ("etc/systemd/system/systemd-modules-load.service",)


def own_kernel(paths: Paths, say: Say) -> Path:
    """Return a folder with the program `linux` and the layer of its modules, fetching them once."""
    digest = hashlib.sha256(SHA256.encode())
    for file in sorted(LAYER.rglob("*")):
        digest.update(str(file.relative_to(LAYER)).encode() + (file.read_bytes() if file.is_file() else b""))
    folder = paths.cache / "kernels" / f"{VERSION}-{digest.hexdigest()[:12]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        package = _package(folder.parent, say)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            unpacked, draft = Path(scratch) / "unpacked", Path(scratch) / "draft"
            run(["dpkg-deb", "-x", package, unpacked])
            (draft / "layer/usr/lib").mkdir(parents=True)
            shutil.move(unpacked / "usr/bin/linux.uml", draft / "linux")
            shutil.move(unpacked / "usr/lib/uml/modules", draft / "layer/usr/lib/modules")
            _lay_out(draft / "layer")
            draft.rename(folder)
    return folder


def _package(folder: Path, say: Say) -> Path:
    """Return the package, from the cache or from this machine's Debian mirror; apt's client fetches it."""
    package = folder / f"user-mode-linux_{VERSION}_amd64.deb"
    if not package.exists():
        say(f"fetching the kernel of the nodes (user-mode-linux {VERSION}, 35 MiB; once)")
        url = f"{debian_mirror()}/pool/main/u/user-mode-linux/{package.name}"
        draft = package.with_suffix(".part")
        fetch: list[str | Path] = ["/usr/lib/apt/apt-helper", "download-file", url, draft, f"SHA256:{SHA256}"]
        if run(fetch, check=False, timeout_s=600).returncode != 0:
            raise LabError(
                f"user-mode-linux {VERSION} can't be had from this machine's Debian mirror",
                hint=f"lay the package with the SHA-256 {SHA256} at {package}",
            )
        draft.rename(package)
    done = run(["sha256sum", package])
    if done.stdout.split()[0] != SHA256:
        raise LabError(f"{package} is another package", hint=f"its SHA-256 must be {SHA256}")
    return package


def _lay_out(layer: Path) -> None:
    shutil.copytree(LAYER, layer, symlinks=True, dirs_exist_ok=True)
    for name in UNMASKED:
        (layer / name).parent.mkdir(parents=True, exist_ok=True)
        os.mknod(layer / name, 0o600 | stat.S_IFCHR, os.makedev(0, 0))  # overlayfs takes this for "not there"

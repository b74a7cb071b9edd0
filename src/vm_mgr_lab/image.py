"""Build the node image: a Debian root file system with what the roles will need, cached by content."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.paths import CHECKOUT, Paths

__all__ = ["debian_mirror", "node_image", "role_packages", "unpack_packages"]

Say = Callable[[str], None]

# What makes a container a machine that Ansible can reach; people and tests look around in it, and stress it.
BASE_PACKAGES = (
    "ca-certificates",
    "crmsh",
    "dbus",
    "iproute2",
    "iputils-ping",
    "less",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "python3-pytest",
    "stress-ng",
    "systemd",
    "systemd-sysv",
    "tcpdump",
    "udev",
    "vim-tiny",
)
# Where a release has a role's package under another name.
OTHER_NAMES = {
    "bookworm": {
        "fence-agents-ipmilan": "fence-agents",
        "libvirt-daemon-plugin-lockd": "libvirt-daemon-system",
        "virtiofsd": "qemu-system-common",
    }
}
RECIPE = 3  # raise when the way an image is made changes

# Hosts' keys are made per node; containers have no disks or modules to wait for.
NOT_IN_A_CONTAINER = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "logrotate.timer",
    "man-db.timer",
    "nvmf-autoconnect.service",
    "systemd-modules-load.service",
)
CUSTOMIZE = (
    'rm -f "$1"/etc/ssh/ssh_host_*_key* "$1"/etc/machine-id; touch "$1"/etc/machine-id',
    f'chroot "$1" systemctl mask --quiet {" ".join(NOT_IN_A_CONTAINER)}',
)


def node_image(paths: Paths, suite: str, say: Say) -> Path:
    """Return the root file system of the node image, building it when it isn't cached."""
    names = OTHER_NAMES.get(suite, {})
    packages = sorted({names.get(package, package) for package in (*BASE_PACKAGES, *role_packages())})
    key = _digest(suite, str(RECIPE), *packages, *CUSTOMIZE)
    root = paths.cache / "images" / f"{suite}-{key}"
    if not root.exists():
        say(f"building the {suite} node image ({len(packages)} packages named; once)")
        hooks = [f"--customize-hook={command}" for command in CUSTOMIZE]
        _mmdebstrap(["--variant=minbase", *hooks], packages, suite, root, say)
    return root


def role_packages() -> list[str]:
    """Return the Debian packages that the roles in deploy/ install."""
    names: list[str] = []
    for file in sorted((CHECKOUT / "deploy" / "roles").glob("*/vars/packages.yml")):
        for value in yaml.safe_load(file.read_text()).values():
            names += value
    return names


def unpack_packages(packages: Iterable[str], suite: str, target: Path, say: Say) -> None:
    """Unpack packages and what they depend on into a new folder, without running their scripts."""
    _mmdebstrap(["--variant=extract"], sorted(packages), suite, target, say)


def _mmdebstrap(options: list[str], packages: list[str], suite: str, target: Path, say: Say) -> None:
    draft = target.with_name(target.name + ".building")
    shutil.rmtree(draft, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    mirror = debian_mirror()
    argv = [
        *("setpriv", "--pdeathsig", "TERM", "--"),  # a killed `up` takes it along; it undoes its mounts then
        "mmdebstrap",
        *options,
        "--mode=root",
        '--aptopt=Acquire::Languages "none"',
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--include={','.join(packages)}",
        suite,
        str(draft),
        f"deb {mirror} {suite} main",
        f"deb {mirror} {suite}-updates main",
    ]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as building:
        last: list[str] = []
        for line in building.stdout or ():
            last = [*last[-14:], line.rstrip()]
            if line.startswith("I: ") and "..." in line:
                say("  " + line[3:].strip())
    if building.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        raise LabError(
            f"mmdebstrap failed: {' / '.join(last[-4:])}",
            hint="see whether apt-get update works on this machine, then repeat",
        )
    draft.rename(target)


def debian_mirror() -> str:
    """Return the Debian mirror of this machine's own apt sources, in one-line or deb822 form."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file():
            continue
        for line in file.read_text(errors="replace").splitlines():
            found = re.match(r"\s*(?:deb\s+(?:\[[^]]*\]\s+)?|URIs:\s*)(\S+/debian)/?(?:\s|$)", line)
            if found:
                return found[1]
    raise LabError("no Debian mirror in this machine's apt sources", hint="look into /etc/apt/sources.list.d")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

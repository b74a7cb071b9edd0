"""Find VMs' processes in /proc: evidence that needs neither libvirt nor any other daemon."""

import os
import re
import signal
from itertools import pairwise
from pathlib import Path

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.ports.clock import Clock

__all__ = ["HostProcesses", "is_vm_process"]

KERNEL_THREAD = 0x200000  # PF_KTHREAD in the flags of proc_pid_stat(5)
# A QEMU that ends loses its command line before its memory is given back, which takes longer the more it has.
ENDING_S = 5.0
POLL_S = 0.05
QEMU = ("qemu", "kvm")  # one of them is in the name of every QEMU's program
# libvirt has QEMU name its threads: `CPU 0/KVM`, `CPU 0/TCG`, `ALL CPUs/TCG`.
VCPUS = ("CPU ", "ALL CPUs")
# malloc of the C library takes memory in mappings of 64 MiB, of which two can look like one.
LARGEST = 128 << 20


def is_vm_process(argv: list[str], name: str, uuid: str = "") -> bool:
    """Recognise the command line that libvirt gives QEMU.

    >>> is_vm_process(["/usr/bin/qemu-system-x86_64", "-name", "guest=web1,debug-threads=on"], "web1")
    True
    >>> is_vm_process(["/usr/bin/qemu-system-x86_64", "-name", "guest=web10,debug-threads=on"], "web1")
    False
    >>> is_vm_process(["qemu-system-x86_64", "-name", "guest=web1,x", "-uuid", "1-2"], "web1", "1-3")
    False
    """
    named = any(
        option == "-name" and value.split(",")[0] == f"guest={name}" for option, value in pairwise(argv)
    )
    return named and (not uuid or _uuid(argv) in ("", uuid.lower()))


def _uuid(argv: list[str]) -> str:
    return next((value.lower() for option, value in pairwise(argv) if option == "-uuid"), "")


def _holds_variable(line: str, address: int) -> bool:
    """Tell whether a line of a process's map has an address among variables.

    >>> _holds_variable("7f0000000000-7f0000100000 rw-p 00000000 00:00 0 ", 0x7F0000000010)
    True
    >>> _holds_variable("7f0000000000-7f0000100000 r--p 00000000 00:00 0 ", 0x7F0000000010)
    False
    >>> _holds_variable("7f0000000000-7f0000100000 rw-p 00000000 08:01 9 /usr/lib/librbd.so", 0x7F0000000010)
    False
    """
    place, rights, _, _, inode, *name = line.split()
    first, _, end = place.partition("-")
    begin, behind = int(first, 16), int(end, 16)
    ours = (
        rights == "rw-p" and inode == "0" and (not name or name[0] == "[heap]" or name[0].startswith("[anon"))
    )
    return ours and begin <= address < behind and (behind - begin <= LARGEST or name[:1] == ["[heap]"])


def _names(file: Path, pid: int) -> bool:
    try:
        return file.read_text(errors="replace").strip() == str(pid)
    except OSError:
        return False  # libvirt has removed it since it was listed


class HostProcesses:
    """Processes as /proc shows them."""

    def __init__(
        self, clock: Clock, proc: Path = Path("/proc"), libvirt_run: Path = Path("/run/libvirt/qemu")
    ) -> None:
        self.clock = clock
        self.proc = proc
        self.libvirt_run = libvirt_run

    def find_vm(self, name: VmName, *, uuid: str = "") -> int | None:
        """Look at every process; a short scan, and no daemon has to be believed.

        Other programs can have the same words in their command line: only a QEMU's counts. Raises ENVIRONMENT
        where a QEMU shows no command line and does not end: it may be the VM.
        """
        deadline = self.clock.monotonic() + ENDING_S
        while True:
            found = self._all()
            for pid, argv in found:
                if is_vm_process(argv, name, uuid) and self._is_qemu(pid):
                    return pid
            hidden = [pid for pid, argv in found if not any(argv) and self._may_be_vm(pid, name)]
            if not hidden:
                return None
            if self.clock.monotonic() > deadline:
                text = f"process {hidden[0]} shows no command line: whether {name} runs is unknown"
                raise VmMgrError(Kind.ENVIRONMENT, text, hint=f"look at /proc/{hidden[0]}/status")
            self.clock.sleep(POLL_S)

    def uuid(self, pid: int) -> str:
        """Read it from the command line."""
        return _uuid(self._argv(pid))

    def birth(self, pid: int) -> str:
        """Read the 22nd field of proc_pid_stat(5): clock ticks since the boot."""
        fields = self._stat(pid)
        return fields[19] if len(fields) > 19 else ""

    def has_ended(self, pid: int, birth: str) -> bool:
        """Compare births; a zombie without further threads has given back its memory and its sockets.

        Raises ENVIRONMENT where /proc can't be read: then nothing is proven.
        """
        try:
            raw = (self.proc / str(pid) / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return self._shows_itself()
        except OSError as error:
            raise VmMgrError(Kind.ENVIRONMENT, f"can't read {self.proc}/{pid}: {error.strerror}") from error
        fields = raw[raw.rfind(")") + 1 :].split()
        if len(fields) <= 19:
            raise VmMgrError(Kind.ENVIRONMENT, f"can't understand {self.proc}/{pid}/stat")
        return fields[19] != birth or (fields[0] in "ZX" and int(fields[17]) <= 1)

    def has_memory(self, pid: int, address: int) -> bool:
        """Look at its map (proc_pid_maps(5)) for variables: private, writable, of no file.

        A guest's memory can be such a mapping too, but a far larger one, which could contain any number.
        """
        try:
            lines = (self.proc / str(pid) / "maps").read_text(errors="replace").splitlines()
            return any(_holds_variable(line, address) for line in lines)
        except (OSError, ValueError):
            return False

    def is_halted(self, pid: int) -> bool:
        """Read the state: T is stopped by a signal, t by a debugger."""
        return self._stat(pid)[:1] in (["T"], ["t"])

    def vcpu_time_ns(self, pid: int) -> int | None:
        """Add up what the threads of the virtual processors have run: the first number of their schedstat."""
        try:
            threads = list((self.proc / str(pid) / "task").iterdir())
            times = [
                int((thread / "schedstat").read_text().split()[0])
                for thread in threads
                if (thread / "comm").read_text(errors="replace").startswith(VCPUS)
            ]
        except (OSError, ValueError, IndexError):
            return None  # it ended meanwhile, or the kernel keeps no such statistics
        return sum(times) or None  # a kernel that does not count shows zeros

    def mentions(self, text: str) -> list[int]:
        """Find other processes with the text in their command line."""
        own = {os.getpid(), os.getppid()}
        word = re.compile(rf"(?<![\w.-]){re.escape(text)}(?![\w.-])")
        return [pid for pid, argv in self._all() if pid not in own and any(map(word.search, argv))]

    def end(self, pid: int, *, force: bool) -> None:
        """Send a signal to a process."""
        try:
            os.kill(pid, signal.SIGKILL if force else signal.SIGTERM)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise VmMgrError(Kind.NOT_PERMITTED, f"may not end process {pid}", hint="run as root") from error

    def _shows_itself(self) -> bool:
        """Make sure that this is a process table at all: an empty folder proves nobody's end."""
        if not (self.proc / str(os.getpid())).exists() and not any(self.proc.glob("[0-9]*")):
            raise VmMgrError(Kind.ENVIRONMENT, f"{self.proc} shows no process at all")
        return True

    def _all(self) -> list[tuple[int, list[str]]]:
        try:
            pids = [int(entry) for entry in os.listdir(self.proc) if entry.isdigit()]  # noqa: PTH208 - names only
            found = [(pid, self._argv(pid)) for pid in pids]
        except OSError as error:
            raise VmMgrError(Kind.ENVIRONMENT, f"can't read {self.proc}: {error.strerror}") from error
        if not any(argv for _, argv in found):
            raise VmMgrError(Kind.ENVIRONMENT, f"{self.proc} shows no process at all")
        return found

    def _is_qemu(self, pid: int) -> bool:
        try:
            comm = (self.proc / str(pid) / "comm").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return False
        except OSError as error:
            raise VmMgrError(Kind.ENVIRONMENT, f"can't read {self.proc}/{pid}: {error.strerror}") from error
        return any(word in comm for word in QEMU)

    def _stat(self, pid: int) -> list[str]:
        """Give the fields of proc_pid_stat(5) from the state on; none of a process that is gone."""
        try:
            raw = (self.proc / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            return []
        return raw[raw.rfind(")") + 1 :].split()

    def _may_be_vm(self, pid: int, name: VmName) -> bool:
        """Tell whether a process without command line still holds what may be the VM's disks.

        Not so are one that has ended, a kernel thread, and the process of another VM by libvirt's PID files.
        """
        try:
            stat = (self.proc / str(pid) / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return False
        except OSError as error:
            raise VmMgrError(Kind.ENVIRONMENT, f"can't read {self.proc}/{pid}: {error.strerror}") from error
        comm, fields = stat[stat.index("(") : stat.rindex(")")], stat[stat.rindex(")") + 1 :].split()
        if not any(word in comm for word in QEMU) or int(fields[6]) & KERNEL_THREAD:
            return False
        # A process whose first thread has ended is a zombie, and its other threads may still write.
        if fields[0] in "ZX" and int(fields[17]) <= 1:
            return False
        return not any(file.stem != name and _names(file, pid) for file in self.libvirt_run.glob("*.pid"))

    def _argv(self, pid: int) -> list[str]:
        try:
            raw = (self.proc / str(pid) / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return []  # ended meanwhile
        return [word.decode(errors="replace") for word in raw.split(b"\0")]

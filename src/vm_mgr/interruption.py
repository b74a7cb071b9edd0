"""Know what is to be told of this command: its name, which VMs it is at, and which it has stopped.

Signals belong to a process, and so does this. Operations note what can't be taken back at the moment when it
is so; what an interrupted command then says is made of that and of a look
(operations/lifecycle/interrupted.py).
"""

__all__ = ["Interruption", "current"]


class Interruption:
    """One command's notes; asked: the VMs of which is recorded who has asked for it."""

    def __init__(self, doing: str = "") -> None:
        self.doing = doing
        self.asked: set[str] = set()
        self.names: list[str] = []
        self.halted: set[str] = set()
        self.impatient = False

    def begin(self, doing: str = "") -> None:
        """Forget the notes of a command before."""
        self.__init__(doing)  # type: ignore[misc]

    def at(self, *names: str) -> None:
        """Note VMs that the command may change."""
        self.names += [name for name in names if name not in self.names]

    def halting(self, name: str) -> None:
        """Note that a VM is asked to stop, which its guest hears of at once."""
        self.at(name)
        self.halted.add(name)


current = Interruption()

"""Know what is to be told when a signal ends this command: which VMs it is at, and which it has stopped.

Signals belong to a process, and so does this. Operations note what can't be taken back at the moment when it
is so; what an interrupted command then says is made of that and of a look
(operations/lifecycle/interrupted.py).
"""

__all__ = ["Interruption", "current"]


class Interruption:
    """One command's notes."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.halted: set[str] = set()
        self.impatient = False

    def begin(self) -> None:
        """Forget the notes of a command before."""
        self.__init__()  # type: ignore[misc]

    def at(self, *names: str) -> None:
        """Note VMs that the command may change."""
        self.names += [name for name in names if name not in self.names]

    def halting(self, name: str) -> None:
        """Note that a VM is asked to stop, which its guest hears of at once."""
        self.at(name)
        self.halted.add(name)


current = Interruption()

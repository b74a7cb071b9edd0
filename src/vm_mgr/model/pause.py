"""Name why a guest's processors do not run."""

from enum import StrEnum

__all__ = ["PauseReason"]


class PauseReason(StrEnum):
    """A virDomainPausedReason (libvirt-domain.h) in virsh's words, and two of our own."""

    UNKNOWN = "unknown"
    USER = "user"
    MIGRATING = "migrating"
    SAVING = "saving"
    DUMPING = "dumping"
    IO_ERROR = "I/O error"
    WATCHDOG = "watchdog"
    FROM_SNAPSHOT = "from snapshot"
    SHUTTING_DOWN = "shutting down"
    SNAPSHOT = "creating snapshot"
    CRASHED = "crashed"
    STARTING = "starting up"
    POSTCOPY = "post-copy"
    POSTCOPY_FAILED = "post-copy failed"
    # Ours: they run; or all has arrived, and waits for the end of the source (LiveMigration.let_go).
    RUNS = ""
    ARRIVING = "arriving"

    @classmethod
    def of(cls, words: str) -> "PauseReason":
        """Read virsh's words; what a later libvirt says is unknown.

        >>> PauseReason.of("I/O error").name, PauseReason.of("tea break").name
        ('IO_ERROR', 'UNKNOWN')
        """
        return cls(words) if words in set(cls) else cls.UNKNOWN

    @classmethod
    def of_number(cls, number: int) -> "PauseReason":
        """Read libvirt's number.

        >>> PauseReason.of_number(5).name, PauseReason.of_number(99).name
        ('IO_ERROR', 'UNKNOWN')
        """
        known = list(cls)[: -len(_OURS)]
        return known[number] if 0 <= number < len(known) else cls.UNKNOWN

    @property
    def is_half(self) -> bool:
        """Tell whether this is but a half of a migration: the other one may run."""
        return self in (self.MIGRATING, self.ARRIVING, self.STARTING)

    @property
    def is_postcopy(self) -> bool:
        """Tell whether the guest has begun to run at the target, and can't go on here any more."""
        return self in (self.POSTCOPY, self.POSTCOPY_FAILED)

    @property
    def is_wanted(self) -> bool:
        """Tell whether the guest is as its user wants it: it runs, or they have paused it."""
        return self in (self.RUNS, self.USER)


_OURS = (PauseReason.RUNS, PauseReason.ARRIVING)

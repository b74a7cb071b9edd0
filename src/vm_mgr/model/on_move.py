"""Say what becomes of a running guest when its VM is moved."""

from enum import StrEnum

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmSettings

__all__ = ["MoveMethod", "OnMove", "on_move_of", "on_move_problems", "settings_for"]


class OnMove(StrEnum):
    """What a move does with the guest.

    migrate and restart are what the setting live_migration says; hibernate is kept beside it, for clusters
    and programs that know only that one.
    """

    MIGRATE = "migrate"
    HIBERNATE = "hibernate"
    RESTART = "restart"


class MoveMethod(StrEnum):
    """How a VM has been moved.

    unknown: its memory was to be saved, and nothing tells what became of it.
    """

    LIVE = "live"
    RESUMED = "resumed"
    RESTARTED = "restarted"
    UNKNOWN = "unknown"


def on_move_of(settings: VmSettings) -> OnMove:
    """Tell what the settings ask for.

    >>> on_move_of(VmSettings()).value, on_move_of(VmSettings(live_migration=True)).value
    ('restart', 'migrate')
    """
    if settings.on_move == OnMove.HIBERNATE.value:
        return OnMove.HIBERNATE
    return OnMove.MIGRATE if settings.live_migration else OnMove.RESTART


def settings_for(on_move: OnMove) -> dict[str, bool | str | None]:
    """Give the fields of the settings that ask for it.

    >>> settings_for(OnMove.MIGRATE)
    {'live_migration': True, 'on_move': None}
    """
    kept = on_move.value if on_move is OnMove.HIBERNATE else None
    return {"live_migration": on_move is OnMove.MIGRATE, "on_move": kept}


def on_move_problems(settings: VmSettings) -> list[VmMgrError]:
    """Refuse a word that is unknown, and one that contradicts live_migration.

    >>> contradiction = VmSettings(live_migration=True, on_move="hibernate")
    >>> [problem.kind.value for problem in on_move_problems(contradiction)]
    ['invalid']
    """
    given = settings.on_move
    known = [word.value for word in OnMove]
    if given is not None and given not in known:
        hint = f"use one of {', '.join(known)}"
        return [VmMgrError(Kind.INVALID, f"unknown way to move {given!r}", hint=hint)]
    contradicts = (settings.live_migration and given not in (None, OnMove.MIGRATE.value)) or (
        not settings.live_migration and given == OnMove.MIGRATE.value
    )
    if contradicts:
        asked = "enabled" if settings.live_migration else "not enabled"
        message = f"a move can't {given} while live migration is {asked}"
        return [VmMgrError(Kind.INVALID, message, hint="give --on-move alone; migrate is live migration")]
    return []

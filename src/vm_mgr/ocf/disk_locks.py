"""Report whether a shared directory locks between nodes: python3 -m vm_mgr.ocf.disk_locks check|hold."""

import sys
import time

from vm_mgr.agent.disk_locks import NodePaths, check, hold

__all__ = ["main"]


def main(words: list[str]) -> int:
    """Run `hold`, or `check [SECONDS] [DIRECTORY…]`: so long it waits for another node to prove it by."""
    places = NodePaths.from_environment()
    if words[:1] == ["hold"]:
        hold(places)
        return 0
    patience = float(words[1]) if len(words) > 1 else 0.0
    end = time.monotonic() + patience
    while True:
        reason, proved = check(places, tuple(words[2:]))
        if reason:
            print(reason)
            return 1
        if proved or time.monotonic() >= end:
            break
        time.sleep(0.3)
    if patience and not proved:
        print("no other node holds a lock to try: is vm-mgr-dir-lock started there? see: crm_mon -1")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Be DRBD's handlers: /usr/lib/vm-mgr/drbd-fence-peer, drbd-unfence-peer, drbd-notify WHAT.

drbdadm starts them for the kernel and says in the environment what it is about: DRBD_RESOURCE and DRBD_MINOR,
and with the 8.4 module DRBD_PEER(S), with the 9 module DRBD_PEER_NODE_ID and the names as DRBD_NODE_ID_….
"""

import os
import signal
import sys
from collections.abc import Mapping

from vm_mgr.agent.peer_fence import LONGEST_S, fence_peer, split_brain, unfence_peer
from vm_mgr.model.peer_fence import SAFE, Verdict
from vm_mgr.ports.peer_fence import PeerFenceEnv
from vm_mgr.wiring_peer_fence import handler_env

__all__ = ["main", "peer_name", "serve"]

# Longer than DRBD takes to connect.
RECONNECTED_S = 20.0


def main(name: str, words: list[str]) -> int:
    """Give the exit status; a process that hangs ends with the one that keeps writes frozen."""
    signal.signal(signal.SIGALRM, lambda *_: os._exit(Verdict.DOUBT.value))
    signal.alarm(int(LONGEST_S))
    env = handler_env(os.environ)
    if name == "drbd-unfence-peer" and not _is_child():
        return 0  # DRBD does nothing else until its handler ends
    status = serve(env, name, words, os.environ)
    if name == "drbd-fence-peer" and Verdict(status) in SAFE and _is_child():
        # The link may have come back at this moment. Then there is no resync at whose end DRBD would ask.
        env.clock.sleep(RECONNECTED_S)
        serve(env, "drbd-unfence-peer", [], os.environ)
    return status


def _is_child() -> bool:
    """Go on twice: True in the one that DRBD does not wait for."""
    if os.fork():
        return False
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    return True


def serve(env: PeerFenceEnv, name: str, words: list[str], environ: Mapping[str, str]) -> int:
    """Do what a handler of this name is for."""
    resource, peer = environ.get("DRBD_RESOURCE", ""), peer_name(environ)
    if name == "drbd-fence-peer" and resource:
        return fence_peer(env, resource, peer, tuple(environ.get("DRBD_MINOR", "").split())).value
    if name == "drbd-unfence-peer" and resource:
        return 0 if unfence_peer(env, resource, peer) else 1
    if name == "drbd-notify" and words == ["split-brain"] and resource:
        split_brain(env, resource, peer)
        return 0
    print(f"vm-mgr: {name} is for DRBD to call, with DRBD_RESOURCE in the environment", file=sys.stderr)
    return 1


def peer_name(environ: Mapping[str, str]) -> str:
    """Name the one peer that a call is about; nothing where that is not clear.

    >>> peer_name({"DRBD_PEER": "n2", "DRBD_PEERS": "n2"})
    'n2'
    >>> peer_name({"DRBD_PEER_NODE_ID": "1", "DRBD_NODE_ID_0": "n1", "DRBD_NODE_ID_1": "n2"})
    'n2'
    >>> peer_name({"DRBD_MY_NODE_ID": "0", "DRBD_NODE_ID_0": "n1", "DRBD_NODE_ID_1": "n2"})
    'n2'
    """
    prefix = "DRBD_NODE_ID_"
    names = {key.removeprefix(prefix): name for key, name in environ.items() if key.startswith(prefix)}
    known = names.get(environ.get("DRBD_PEER_NODE_ID", ""))
    if known:
        return known
    names.pop(environ.get("DRBD_MY_NODE_ID", ""), None)
    peers = (environ.get("DRBD_PEERS") or environ.get("DRBD_PEER", "")).split() or list(names.values())
    return peers[0] if len(peers) == 1 else ""

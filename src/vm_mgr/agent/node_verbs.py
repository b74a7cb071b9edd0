"""Do what another node asks of this one: the closed list of ports/node_runner.

A verb is added there and here. Its words come from outside: each is checked before it is used.
"""

from collections.abc import Sequence
from typing import assert_never

from vm_mgr.agent.hold import read_words
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.requirement_words import is_word
from vm_mgr.operations.storage.nvram import keep_here
from vm_mgr.ports.holds import Hold
from vm_mgr.ports.node_env import AskedEnv, NodeEnv
from vm_mgr.ports.node_runner import NodeVerb

__all__ = ["ASKED", "answer", "has"]

# The answer to whoever asks; adapters/host/remote.py looks for it.
ASKED = "vm-mgr hold:"
LONGEST_S = 600.0
MOST_WORDS = 500


def answer(env: AskedEnv, words: Sequence[str]) -> str:
    """Do it, and give the answer; raises INVALID for words that ask for anything else."""
    try:
        verb = NodeVerb(words[0]) if words else None
    except ValueError:
        verb = None
    if verb is None:
        raise VmMgrError(Kind.INVALID, f"what can be asked: {', '.join(NodeVerb)}")
    return f"{ASKED} {_do(env, verb, words)}"


def _do(env: AskedEnv, verb: NodeVerb, words: Sequence[str]) -> str:
    match verb:
        case NodeVerb.CLOCK:
            _require(words, 1)
            return f"{env.clock.utc():.3f}"
        case NodeVerb.PROCESS:
            _require(words, 3)
            return "ended" if env.processes.has_ended(_number(words[1]), words[2]) else "lives"
        case NodeVerb.BEGIN_HOLD:
            _require(words, 4)
            _, name, hold = read_words(words[:3], 3)
            limits = env.holds_at(env.cluster.local_node())
            limits.begin(name, hold or Hold.FROZEN, _seconds(words[3]))
            return f"limit of {name} set"
        case NodeVerb.END_HOLD:
            _, name, _ = read_words(words, 2)
            env.holds_at(env.cluster.local_node()).end(name)
            return f"limit of {name} ended"
        case NodeVerb.KEEP_NVRAM:
            _, name, _ = read_words(words, 2)
            keep_here(env, name)
            return "kept"
        case NodeVerb.HAS | NodeVerb.DISKS:
            return has(env, words[1:]) if verb is NodeVerb.HAS else env.node_disks.do(words[1:])
        case _:
            assert_never(verb)


def has(env: NodeEnv, words: Sequence[str]) -> str:
    """Tell of each requirement that can be told of: WORD=ANSWER, with a space between them."""
    if len(words) > MOST_WORDS:
        raise VmMgrError(Kind.INVALID, f"at most {MOST_WORDS} requirements are looked for at once")
    found = env.facts_at(env.cluster.local_node()).answers([one for one in words if is_word(one)])
    return " ".join(f"{one}={answer}" for one, answer in found.items())


def _require(words: Sequence[str], count: int) -> None:
    if len(words) != count:
        raise VmMgrError(Kind.INVALID, f"{words[0]} has {count - 1} words behind it")


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 10):
        raise VmMgrError(Kind.INVALID, "a process has a number")
    return int(word)


def _seconds(word: str) -> float:
    if not (word.isascii() and word.isdigit() and 0 < int(word) <= LONGEST_S):
        raise VmMgrError(Kind.INVALID, f"a limit has 1 to {LONGEST_S:.0f} seconds")
    return float(word)

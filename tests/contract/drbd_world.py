"""Two nodes with LVM and DRBD in memory: their programs' arguments, answers and effects, for the tests."""

import re
from pathlib import Path

from vm_mgr.adapters.drbd.node import DrbdNode
from vm_mgr.adapters.drbd.node_files import NodeFiles
from vm_mgr.adapters.drbd.pair import Pair
from vm_mgr.adapters.drbd.pool import DrbdPool
from vm_mgr.adapters.drbd.port import DrbdStorage
from vm_mgr.adapters.drbd.res_file import parse_file
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.ports.node_runner import NodeVerb
from vm_mgr.ports.runner import Completed

GROUP, POOL = "vm-mgr", "thin"
POOL_BYTES = 100 << 30
NODES = {NodeName("n1"): "192.0.2.1", NodeName("n2"): "192.0.2.2"}


class Side:
    """A volume of DRBD on one node."""

    def __init__(self, minor, lv):
        self.minor, self.lv = minor, lv
        self.disk = "Inconsistent"
        self.generation = None


class Node:
    """A node's logical volumes (name → size and content) and resources that are up (name → sides)."""

    def __init__(self, world, name, root):
        self.world, self.name = world, name
        self.resources = root / name / "drbd.d"
        self.links = root / name / "links"
        self.resources.mkdir(parents=True)
        self.lvs = {}
        self.up = {}
        self.primary = set()
        self.suspended = set()
        self.timers = set()
        self.opened = set()
        self.under_way = 0
        self.ran = []

    # what DrbdNode is handed

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        del timeout_s, stdin
        self.ran.append(tuple(argv))
        self.world.step(self.name, argv)
        words = [one for one in argv if one not in ("setpriv", "--pdeathsig", "KILL", "--")]
        verb = getattr(self, "_" + words[0].replace("-", "_"))
        try:
            out = verb(words[1:], on_line) or ""
        except RefusalError as refusal:
            return Completed(tuple(argv), refusal.code, "", str(refusal))
        return Completed(tuple(argv), 0, out, "")

    def proc(self):
        lines = ["version: 8.4.11 (api:1/proto:86-101)", "srcversion: 000000000000000000000000"]
        for resource, sides in sorted(self.up.items()):
            for side in sides:
                lines += self._proc_lines(resource, side)
        return "\n".join(lines) + "\n"

    def openers(self, minors):
        return dict.fromkeys(self.opened & set(minors), 4711)

    def _proc_lines(self, resource, side):
        peer, other = self._peer(resource, side)
        connection = "Connected" if other is not None else "WFConnection"
        mine = "Primary" if resource in self.primary else "Secondary"
        theirs = "Unknown" if other is None else "Primary" if resource in peer.primary else "Secondary"
        disk = side.disk
        peer_disk = "DUnknown" if other is None else other.disk
        flag = "s" if resource in self.suspended else "r"
        return [
            f" {side.minor}: cs:{connection} ro:{mine}/{theirs} ds:{disk}/{peer_disk} C {flag}-----",
            f"    ns:0 nr:0 dw:0 dr:0 al:8 bm:0 lo:0 pe:0 ua:0 ap:{self.under_way} ep:1 wo:f oos:0",
        ]

    def _peer(self, resource, side):
        for peer in self.world.nodes.values():
            if peer is not self and self.world.linked and peer.world is self.world:
                for other in peer.up.get(resource, ()):
                    if other.minor == side.minor:
                        return peer, other
        return None, None

    # LVM

    def _lvs(self, words, _on_line):
        if words[-1] == f"{GROUP}/{POOL}":
            return f"  {POOL_BYTES}|12.50\n"
        return "".join(f"  {name}|{lv['size']}|1.0\n" for name, lv in self.lvs.items())

    def _lvcreate(self, words, _on_line):
        name = words[words.index("--name") + 1]
        refuse(name in self.lvs, 5, f'Logical Volume "{name}" already exists')
        if "--snapshot" in words:
            source = words[-1].removeprefix(f"{GROUP}/")
            refuse(source not in self.lvs, 5, "Failed to find logical volume")
            self.lvs[name] = dict(self.lvs[source])
        else:
            size = int(words[words.index("--virtualsize") + 1].removesuffix("b"))
            self.lvs[name] = {"size": size, "content": "zeros"}

    def _lvremove(self, words, _on_line):
        name = words[-1].removeprefix(f"{GROUP}/")
        refuse(name not in self.lvs or self._in_use(name), 5, f"{name} is not there, or in use")
        del self.lvs[name]

    def _lvrename(self, words, _on_line):
        old, new = words[-2:]
        refuse(new in self.lvs or old not in self.lvs, 5, "can't rename")
        self.lvs[new] = self.lvs.pop(old)

    def _lvextend(self, words, _on_line):
        name = words[-1].removeprefix(f"{GROUP}/")
        self.lvs[name]["size"] = int(words[words.index("--size") + 1].removesuffix("b"))

    def _in_use(self, lv):
        return any(side.lv == lv for sides in self.up.values() for side in sides)

    # DRBD

    def _drbdadm(self, words, _on_line):
        verb, target = words[0], words[-1]
        resource, _, number = target.partition("/")
        getattr(self, "drbd_" + verb.replace("-", "_"))(resource, int(number or 0))

    def _volumes(self, resource):
        path = self.resources / f"{resource}.res"
        refuse(not path.exists(), 10, f"'{resource}' not defined in your config")
        (section,) = parse_file(path.read_text()).sections("resource")
        found = {}
        for volume in section.sections("volume"):
            minor = int(re.search(r"minor (\d+)", " ".join(volume.options["device"]))[1])
            found[int(volume.words[1])] = (minor, Path(volume.options["disk"][0]).name)
        return section, found

    def drbd_create_md(self, resource, number):
        _, lv = self._volumes(resource)[1][number]
        refuse(self._in_use(lv), 20, "device is attached")
        self.lvs[lv]["md"] = None

    def drbd_adjust(self, resource, _number):
        section, wanted = self._volumes(resource)
        del section
        present = {side.minor: side for side in self.up.get(resource, ())}
        self.up[resource] = []
        for minor, lv in wanted.values():
            side = present.get(minor)
            if side is None:
                refuse("md" not in self.lvs[lv], 1, "No valid meta data found")
                side = Side(minor, lv)
                side.disk = "UpToDate" if self.lvs[lv]["md"] else "Inconsistent"
            self.up[resource].append(side)

    def drbd_down(self, resource, _number):
        refuse(any(side.minor in self.opened for side in self.up.get(resource, ())), 11, "held open")
        self.up.pop(resource, None)
        self.primary.discard(resource)
        self.suspended.discard(resource)

    def drbd_new_current_uuid(self, resource, number):
        minor = self._volumes(resource)[1][number][0]
        side = next(one for one in self.up[resource] if one.minor == minor)
        peer, other = self._peer(resource, side)
        refuse(other is None, 10, "not connected")
        contents = {self.lvs[side.lv]["content"], peer.lvs[other.lv]["content"]}
        assert len(contents) == 1, f"the two sides are not the same: {contents}"
        for node, one in ((self, side), (peer, other)):
            one.disk = "UpToDate"
            node.lvs[one.lv]["md"] = "same"

    def drbd_primary(self, resource, _number):
        refuse(resource not in self.up, 10, "not up")
        refuse(any(side.disk != "UpToDate" for side in self.up[resource]), 17, "Need access to UpToDate data")
        others = [one for one in self.world.nodes.values() if one is not self and resource in one.primary]
        allowed = self._volumes(resource)[0].option("net", "allow-two-primaries") == "yes"
        refuse(bool(others) and not allowed, 11, "Multiple primaries not allowed by config")
        self.primary.add(resource)

    def drbd_secondary(self, resource, _number):
        refuse(any(side.minor in self.opened for side in self.up.get(resource, ())), 11, "held open")
        self.primary.discard(resource)

    def drbd_suspend_io(self, resource, _number):
        self.suspended.add(resource)

    def drbd_resume_io(self, resource, _number):
        self.suspended.discard(resource)

    def drbd_resize(self, resource, number):
        del number
        refuse(resource not in self.primary, 10, "Need a primary")

    def _systemd_run(self, words, _on_line):
        self.timers.add(words[-1])

    def _systemctl(self, words, _on_line):
        self.timers.discard(words[-1].removesuffix("-resume.timer"))

    # qemu-img: the content of a device is the name of what was copied into it

    def _qemu_img(self, words, on_line):
        source, target = words[-2:]
        if words[0] == "compare":
            refuse(self._device(target)["content"] != self._content(source), 1, "Images differ")
        else:
            content = self._content(source)
            for node, side in self._writers(target):
                node.lvs[side.lv]["content"] = content
        if on_line is not None:
            on_line("    (50.00/100%)")
            on_line("    (100.00/100%)")

    def _content(self, source):
        named = re.search(r'"filename": "/dev/vm-mgr/([^"]*)"', source)
        return self.lvs[named[1]]["content"] if named else Path(source).read_bytes()[:4096]

    def _device(self, path):
        (_, side), *_ = self._writers(path)
        return self.lvs[side.lv]

    def _writers(self, path):
        minor = int(path.removeprefix("/dev/drbd"))
        for resource, sides in self.up.items():
            for side in sides:
                if side.minor == minor:
                    refuse(resource not in self.primary, 1, f"{path}: Wrong medium type")
                    peer, other = self._peer(resource, side)
                    return [(self, side), *([(peer, other)] if other else [])]
        raise RefusalError(1, f"{path}: no such device")


class RefusalError(Exception):
    """A program that fails."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def refuse(when, code, text):
    if when:
        raise RefusalError(code, text)


class World:
    """Two nodes and the cluster between them; `here` is the one that commands run on."""

    def __init__(self, root, records, clock, *, here="n1"):
        self.here = NodeName(here)
        self.linked = True
        self.silent = set()
        self.left = None  # how many programs may still run before the power goes
        self.nodes = {name: Node(self, name, root) for name in NODES}
        self.in_cluster = {}
        self.asked = []
        self.halves = {
            name: DrbdNode(
                node,
                clock,
                records,
                NodeFiles(GROUP, node.resources, node.links),
                group=GROUP,
                pool=POOL,
                proc=node.proc,
                openers=node.openers,
            )
            for name, node in self.nodes.items()
        }
        pair = Pair(Local(self), lambda: self.here, self, clock)
        self.pool = DrbdPool(
            records, pair, self, Local(self), clock, group=GROUP, nodes=lambda: NODES, cache="none"
        )
        self.storage = DrbdStorage(self.pool)

    def step(self, node, argv):
        """Die before a program that changes something, once the steps are used up."""
        if argv[0] == "lvs" or self.left is None:
            return
        if self.left == 0:
            raise KilledError(f"{node}: {' '.join(argv)}")
        self.left -= 1

    # the node runner

    def run(self, node, verb, *words):
        assert verb is NodeVerb.DISKS
        if node in self.silent:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{node} does not answer")
        return self.halves[node].do(words)

    # the cluster's disks: a resource that it has is up, and primary somewhere

    def take(self, name, *, primary="n1"):
        """Let the cluster have a VM's disks, as `enable` does."""
        ident = f"vm-mgr-disk-{name}..drbd"
        self.in_cluster[ident] = (name, primary)
        self.start(ident)

    def leave(self, name):
        """Let the cluster have them no more."""
        ident = f"vm-mgr-disk-{name}..drbd"
        self.stop(ident)
        self.in_cluster.pop(ident, None)

    def stop(self, ident):
        self.asked.append(("stop", ident))
        if ident not in self.in_cluster:
            return False
        resource = f"vm-mgr-{self.pool.placed(self.in_cluster[ident][0]).port}"
        for node in self.nodes.values():
            node.drbd_down(resource, 0)
        return True

    def start(self, ident):
        self.asked.append(("start", ident))
        if ident in self.in_cluster:
            name, primary = self.in_cluster[ident]
            resource = f"vm-mgr-{self.pool.placed(name).port}"
            for node in self.nodes.values():
                node.drbd_adjust(resource, 0)
            self.nodes[primary].drbd_primary(resource, 0)


class KilledError(BaseException):
    """The end of the process."""


class Local:
    """The node that commands run on, whichever that is."""

    def __init__(self, world):
        self.world = world

    def do(self, words):
        return self.world.halves[self.world.here].do(words)

    def run(self, argv, **given):
        return self.world.nodes[self.world.here].run(argv, **given)

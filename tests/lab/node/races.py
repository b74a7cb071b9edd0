"""Two people at one name: perform operations on request, tell what is there: python3 -m tests.lab.node.races

One process per node, fed with lines of JSON on stdin; each gets one line back. Every request connects
anew; only the modules are loaded before. The test runs the same operations on the memory adapters, one after
the other: what they leave there is what two at once may leave here.
"""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from vm_mgr.errors import VmMgrError
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.add_disk import NewDisk, add_disk
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.enable import enable, resource_for
from vm_mgr.operations.metadata import set_metadata
from vm_mgr.operations.remove import remove
from vm_mgr.operations.remove_snapshot import remove_snapshot
from vm_mgr.operations.rename import rename
from vm_mgr.operations.resize_disk import resize_disk
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.reports import Progress
from vm_mgr.wiring import RealEnv

DOMAIN = """<domain type="qemu"><name>any</name><memory unit="MiB">16</memory>
<os><type arch="x86_64">hvm</type></os><devices><memballoon model="none"/></devices></domain>"""
MIB = 1 << 20
# What a disk begins with tells where it came from: a byte on a real disk, a word in memory.
CONTENTS = {0: "", 1: "one", 2: "two", 3: "first", 4: "later", 5: "other"}
BYTES = {word: byte for byte, word in CONTENTS.items()}
ROLES = ("web", "db", "new")


class World:
    """The names of one round and where its VMs and their images are."""

    def __init__(self, tag, storage, images):
        self.names = {role: f"{tag}{role}" for role in ROLES}
        self.tag = tag
        self.storage = storage
        self.images = images

    def request(self, role, side, image, **more):
        """Ask for a VM that shows whose it is; nothing of it runs."""
        settings = VmSettings(priority=side, user_metadata={"owner": f"side{side}"})
        path = f"{self.images}/{image}.qcow2"
        more = {"enable": True, "start": False, "settings": settings, "storage": self.storage, **more}
        return CreateRequest(name=self.names[role], xml=DOMAIN, images=(path,), **more)

    def clone_request(self, source, role, side, **more):
        """The same for a clone."""
        settings = VmSettings(priority=side, user_metadata={"owner": f"side{side}"})
        return CloneRequest(self.names[source], self.names[role], settings, start=False, **more)

    def copy_request(self, side):
        """Ask for a clone of web that takes over what web has, as the command line does."""
        request = self.clone_request("web", "new", side)
        return request._replace(
            settings=lambda source: source._replace(
                user_metadata={**source.user_metadata, "owner": f"side{side}"}
            )
        )


# Each is told on which side of the race it is, so that two of the same kind leave different traces.
OPERATIONS = {
    "create": lambda env, w, side: create(env, w.request("web", side, CONTENTS[side])),
    "replace": lambda env, w, side: create(env, w.request("web", side, CONTENTS[side], force=True)),
    "clone to": lambda env, w, side: clone(env, w.clone_request("db", "web", side, enable=side == 1)),
    "clone over": lambda env, w, side: clone(env, w.clone_request("db", "web", side, force=True)),
    "clone from": lambda env, w, side: clone(env, w.copy_request(side)),
    "remove": lambda env, w, _: remove(env, w.names["web"]),
    "rename from": lambda env, w, _: rename(env, w.names["web"], w.names["new"]),
    "rename to": lambda env, w, _: rename(env, w.names["db"], w.names["web"]),
    "snapshot": lambda env, w, side: create_snapshot(env, w.names["web"], f"fresh{side}"),
    "remove snapshot": lambda env, w, _: remove_snapshot(env, w.names["web"], "old"),
    "rollback": lambda env, w, _: rollback(env, w.names["web"], "old"),
    "resize": lambda env, w, side: resize_disk(env, w.names["web"], (4 + side) * MIB),
    "enable": lambda env, w, _: enable(env, w.names["web"], start=False),
    "disable": lambda env, w, _: disable(env, w.names["web"]),
    "set metadata": lambda env, w, side: set_metadata(env, w.names["web"], "owner", f"set{side}"),
    "set": lambda env, w, side: set_vm(env, w.names["web"], Changes({"priority": 10 + side})),
    "add disk": lambda env, w, side: add_disk(env, w.names["web"], NewDisk(side * MIB)),
}


def command_line(world, operation, side):
    """Give the words that make vm-mgr do the same as an operation."""
    web, db, new = (world.names[role] for role in ROLES)
    trace = ("--priority", str(side), "--metadata", f"owner=side{side}")
    made = ("--xml", f"{world.images}/domain.xml", "--image", f"{world.images}/{CONTENTS[side]}.qcow2")
    made = (*made, "--nostart", "--storage", world.storage, *trace)
    return {
        "create": ("create", web, *made),
        "replace": ("create", web, *made, "--force"),
        "clone to": ("clone", db, "--dst-name", web, "--nostart" if side == 1 else "--disable", *trace),
        "clone over": ("clone", db, "--dst-name", web, "--force", "--nostart", *trace),
        "clone from": ("clone", web, "--dst-name", new, "--nostart", *trace[2:]),
        "remove": ("remove", web),
        "rename from": ("rename", web, "--new-name", new),
        "rename to": ("rename", db, "--new-name", web),
        "snapshot": ("create-snapshot", web, "--snap-name", f"fresh{side}"),
        "remove snapshot": ("remove-snapshot", web, "--snap-name", "old"),
        "rollback": ("rollback", web, "--snap-name", "old", "--yes"),
        "resize": ("resize-disk", web, f"{4 + side}M"),
        "enable": ("enable", web, "--nostart"),
        "disable": ("disable", web),
        "set metadata": ("set-metadata", web, "--metadata-name", "owner", "--metadata-value", f"set{side}"),
        "set": ("set", web, "--priority", str(10 + side)),
        "add disk": ("add-disk", web, f"{side}M"),
    }[operation]


def make(env, world, begins, *, other, write):
    """Make the VMs as both are to find them: web is absent, disabled or stopped; db is there if need be.

    By the ports alone: this is done for every round, and nobody else is at these names.
    """
    if other:
        _stock(env, world, "db", 3, "other", write)
    if begins == "absent":
        return
    web = world.names["web"]
    _stock(env, world, "web", 4, "first", write)
    env.storage.snapshots.take(web, "old", Consistency.OFFLINE)
    write(env, web, "later")
    if begins == "stopped":
        env.cluster.add(resource_for(env, web, env.storage.definitions.settings(web), start=False))


def _stock(env, world, role, side, word, write):
    name, storage = world.names[role], env.storages.get(world.storage)
    settings = VmSettings(priority=side, user_metadata={"owner": f"side{side}"})
    prepared = env.definitions.prepare(DOMAIN, name, [storage.disks.locate(name, 0, None)])
    with storage.stage(name) as staged:
        staged.add(2 * MIB)
        staged.describe(xml=prepared.xml, base_xml=DOMAIN, settings=settings, notes={})
        staged.commit()
    write(env, name, word)


def facts(env, world, content):
    """Tell what a user sees of the three VMs, as plain data that is the same in memory."""
    seen = {}
    intents = env.intent_log.intents()
    for role, name in world.names.items():
        vm = env.cluster.configured(name).vm
        resource = vm and [vm.target_role.value, vm.priority]
        intent = intents[name].verb if name in intents else None
        stored = _stored(env, world, name, content) if env.storage.definitions.exists(name) else None
        seen[role] = {"stored": stored, "resource": resource, "mark": intent}
    return json.loads(json.dumps(seen))


def _stored(env, world, name, content):
    storage = env.storages.get(world.storage)
    try:
        disks, keys, settings = (
            storage.disks.of(name),
            storage.definitions.metadata(name),
            storage.definitions.settings(name),
        )
        sources = [storage.disks.locate(name, number, None).source for number in range(len(disks))]
        return {
            "sizes": [disk.size_bytes for disk in disks],
            "contents": [content(env, name, number) for number in range(len(disks))],
            "clone": any(disk.parent for disk in disks),
            "snapshots": sorted(snapshot.name for snapshot in storage.snapshots.of(name)),
            "owner": keys.get("owner"),
            "priority": settings.priority,
            "named": keys.get("vm_name") == name and f"<name>{name}</name>" in keys["xml"],
            "sources": sorted(env.definitions.sources(keys["xml"])) == sorted(sources),
        }
    except (VmMgrError, KeyError) as error:
        return {"half": str(error)}


def content(env, name, number):
    """Read the first byte of a real disk and give the word for it."""
    disk = env.storage.disks.locate(name, number, None)
    if disk.format == "raw":
        import rbd  # noqa: PLC0415 - it is on the nodes only

        with rbd.Image(
            env.connection.ioctx, env.storage.clients.images(name)[number], read_only=True
        ) as image:
            return CONTENTS.get(image.read(0, 1)[0], "?")
    read = ("qemu-io", "-r", "-f", "qcow2", "-c", "read -v 0 512", disk.source)
    found = re.search(r"^0+:\s+([0-9a-f]{2})", run(*read), re.MULTILINE)
    return CONTENTS.get(int(found[1], 16), "?") if found else "?"


def write(env, name, word):
    """Let a real disk begin with the byte for a word."""
    disk = env.storage.disks.locate(name, 0, None)
    if disk.format == "raw":
        import rbd  # noqa: PLC0415

        with rbd.Image(env.connection.ioctx, env.storage.clients.images(name)[0]) as image:
            image.write(bytes([BYTES[word]]) * 4096, 0)
    else:
        run("qemu-io", "-f", "qcow2", "-c", f"write -P {BYTES[word]} 0 4k", disk.source)


def strays(env, world):
    """Name what belongs to no VM: disks in the making or the trash, files, constraints, claims."""
    present = [name for name in world.names.values() if env.storage.definitions.exists(name)]
    found = []
    if world.storage == "ceph":
        import rbd  # noqa: PLC0415

        ioctx, pool = env.connection.ioctx, rbd.RBD()
        images = set(pool.list(ioctx)) - {
            image for name in present for image in env.storage.clients.images(name)
        }
        trash = [f"trash: {entry['name']}" for entry in pool.trash_list(ioctx)]
        groups = [f"group: {group}" for group in set(pool.group_list(ioctx)) - set(present)]
        found += [*images, *trash, *groups]
    else:
        root = env.storages.get(world.storage).folders.mount.root
        found += [path.name for path in root.iterdir() if path.name not in present]
        known = re.compile(r"system\.qcow2|data_\d+\.qcow2|domain\.xml|metadata\.json")
        for name in present:
            found += [
                f"{name}/{path.name}" for path in (root / name).iterdir() if not known.fullmatch(path.name)
            ]
    for name in world.names.values():
        configured = env.cluster.configured(name)
        found += [f"constraint: {one.text} at {name}" for one in configured.others]
        if configured.vm and bool(configured.vm.depends_on) != (world.storage != "ceph"):
            found.append(f"constraint: {name} needs {configured.vm.depends_on or 'nothing'}")
    return sorted([one for one in found if world.tag in one] + _claims(env, world))


def _claims(env, world):
    """Name what is still claimed."""
    found = []
    for name in world.names.values():
        try:
            with env.intent_log.lock(name):
                pass
        except VmMgrError as error:
            found.append(error.message)
    return found


def is_waiting(report):
    """Tell the report of a command that waits for another one."""
    return isinstance(report, Progress) and report.step.startswith("waiting for another command")


def run(*argv):
    """Run a program that must succeed."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{argv}: {done.stderr}")
    return done.stdout


class Server:
    """What can be asked for, a method for each; every request has an environment of its own."""

    def __init__(self):
        self.claims = ExitStack()
        self.holding = None

    def answer(self, asked):
        """Do it and tell how it ended."""
        began, waits = time.time(), []
        env = RealEnv(lambda report: waits.append(report.step) if is_waiting(report) else None)
        try:
            result = {"result": getattr(self, asked.pop("do"))(env, **asked)}
        except VmMgrError as error:
            result = {"error": error.kind.value, "message": error.message}
        except Exception as error:  # noqa: BLE001 - the test judges it
            result = {"error": "defect", "message": repr(error)}
        finally:
            if env is not self.holding:
                env.close()
        return {**result, "waited": bool(waits), "took": time.time() - began}

    def images(self, _env, folder):
        """Make the images that VMs are created from."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, "domain.xml").write_text(DOMAIN)
        for byte, word in CONTENTS.items():
            if word:
                path = f"{folder}/{word}.qcow2"
                run("qemu-img", "create", "-q", "-f", "qcow2", path, "2M")
                run("qemu-io", "-f", "qcow2", "-c", f"write -P {byte} 0 4k", path)

    def make(self, env, world, begins, *, other):
        """Prepare a round."""
        make(env, World(*world), begins, other=other, write=write)

    def race(self, env, world, operation, side, at, *, command=False):
        """Perform an operation at a time."""
        given = World(*world)
        if command:
            return self._command(command_line(given, operation, side), at)
        time.sleep(max(0.0, at - time.time()))
        OPERATIONS[operation](env, given, side)
        return None

    def _command(self, words, at):
        time.sleep(max(0.0, at - time.time()))
        argv = (sys.executable, "-m", "vm_mgr.cli", *words)
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        return {"status": done.returncode, "stderr": done.stderr}

    def look(self, env, world):
        """Give facts and strays."""
        given = World(*world)
        return {"facts": facts(env, given, content), "strays": strays(env, given)}

    def wipe(self, env, world):
        """Remove what a round left, clones first."""
        names = World(*world).names
        for role in ("new", "web", "db"):
            env.cluster.remove(names[role])
            env.storages.get(world[1]).remove(names[role])
            env.intent_log.erase(names[role])

    def hold(self, env, name):
        """Claim a name until `free` or death; give the id of this process on its node."""
        self.claims.enter_context(env.intent_log.lock(name))
        self.holding = env
        return os.getpid()

    def free(self, _env):
        """End the claim."""
        self.claims.close()
        self.holding.close()
        self.holding = None

    def claimed(self, env, world):
        """Name the claims that there are at a world's names."""
        return _claims(env, World(*world))


def main():
    """Answer until the input ends."""
    server = Server()
    for line in sys.stdin:
        print(json.dumps(server.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

"""Tell by libvirt's events how long a guest was held for its snapshots, and how long each command took."""

import json
import subprocess
import sys
import threading
import time

import libvirt

name, runs, uri = sys.argv[1], int(sys.argv[2]), sys.argv[3]
libvirt.virEventRegisterDefaultImpl()
connection = libvirt.open(uri)
seen = {}


def note(_connection, domain, event, _detail, _opaque):
    if domain.name() == name:
        seen[event] = time.perf_counter()


connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, note, None)


def loop():
    while True:
        libvirt.virEventRunDefaultImpl()


threading.Thread(target=loop, daemon=True).start()


def vm_mgr(verb):
    subprocess.run(["vm-mgr", verb, name, "--snap-name", "bench"], stdout=subprocess.DEVNULL, check=True)


pauses, commands = [], []
for _ in range(runs):
    seen.clear()
    started = time.perf_counter()
    vm_mgr("create-snapshot")
    commands.append(time.perf_counter() - started)
    time.sleep(0.5)
    pauses.append(seen[libvirt.VIR_DOMAIN_EVENT_RESUMED] - seen[libvirt.VIR_DOMAIN_EVENT_SUSPENDED])
    vm_mgr("remove-snapshot")
print(json.dumps({"pause of the guest": pauses, "vm-mgr create-snapshot": commands}))

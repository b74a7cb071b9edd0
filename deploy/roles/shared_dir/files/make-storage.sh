#!/bin/sh
# Wait until the directories are mounted, and make those that are none a storage; prints "changed …" for what it did.
# Then have the locks in them tried between the nodes: what this node could lock while another one holds it is no lock.
# usage: make-storage.sh SECONDS HYPERVISORS PATH...
set -eu
patience=$1 hypervisors=$2
shift 2
for path; do
    tries=$((patience * 4))
    until mountpoint -q "$path"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "$path is not mounted; see: crm_mon -1" >&2; exit 1; }
        sleep 0.25
    done
done

# One lock for all nodes: who comes second finds it done.
exec 9>>"$1/.vm-mgr.lock"
flock 9
for path; do
    [ -e "$path/.vm-mgr/storage" ] || {
        PYTHONPATH=/usr/lib/vm-mgr/current python3 -P -c 'import sys
from pathlib import Path
from vm_mgr.adapters.shared_dir.mount import Mount
Mount(Path(sys.argv[1])).initialise()' "$path"
        echo "changed $path"
    }
done
[ -d "$1/.vm-mgr/leases" ] || { mkdir -m 0700 "$1/.vm-mgr/leases"; echo "changed leases"; }

# Where another hypervisor is there to try it with. The agent's monitor has an older one hold its lock, too.
[ "$hypervisors" -gt 1 ] || patience=0
tries=$((patience * 4))
until [ -e /run/vm-mgr/disk-locks ] || [ "$tries" -le 0 ]; do
    tries=$((tries - 1))
    sleep 0.25
done
/usr/lib/ocf/resource.d/vm-mgr/DiskLocks monitor || { echo "vm-mgr-dir-lock is not started; see: crm_mon -1" >&2; exit 1; }
PYTHONPATH=/usr/lib/vm-mgr/current python3 -P -m vm_mgr.ocf.disk_locks check "$patience" "$@" >&2

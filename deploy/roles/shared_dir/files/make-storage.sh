#!/bin/sh
# Wait until the directories are mounted, and make those that are none a storage; prints "changed …" for what it did.
# usage: make-storage.sh SECONDS PATH...
set -eu
patience=$1
shift
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

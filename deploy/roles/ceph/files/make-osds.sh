#!/bin/sh
# Make and start this machine's storage daemons; prints "changed …" for what it did.
# usage: make-osds.sh FILE_SIZE|"" [DEVICE…]
set -eu
umask 077
file_size=$1
shift

# An OSD in a sparse file. Its identity is written down first, so that an interrupted run goes on where it was.
make_file_osd() {
    for ready in /var/lib/ceph/osd/ceph-*/ready; do
        [ -e "$ready" ] && return
    done
    notes=/var/lib/ceph/vm-mgr
    [ -s "$notes/osd-uuid" ] || uuidgen >"$notes/osd-uuid"
    [ -s "$notes/osd-secret" ] || ceph-authtool --gen-print-key >"$notes/osd-secret"
    id=$(printf '{"cephx_secret": "%s"}' "$(cat "$notes/osd-secret")" |
        ceph --connect-timeout 60 osd new "$(cat "$notes/osd-uuid")" -i -)
    data=/var/lib/ceph/osd/ceph-$id
    rm -rf "$data"
    install -d -o ceph -g ceph "$data"
    printf '[osd.%s]\n\tkey = %s\n' "$id" "$(cat "$notes/osd-secret")" >"$data/keyring"
    truncate -s "$file_size" "$data/block"
    chown ceph:ceph "$data/keyring" "$data/block"
    ceph-osd --mkfs -i "$id" --osd-uuid "$(cat "$notes/osd-uuid")" --setuser ceph --setgroup ceph
    systemctl enable --quiet "ceph-osd@$id"
    systemctl start "ceph-osd@$id"
    rm "$notes/osd-secret"
    echo "changed osd.$id"
}

make_device_osd() { # DEVICE
    ceph-volume lvm list --format json "$1" 2>/dev/null | grep -q '"ceph.osd_id"' && return
    ceph-volume lvm create --bluestore --data "$1"
    echo "changed $1"
}

for device in "$@"; do
    make_device_osd "$device"
done
[ -z "$file_size" ] || make_file_osd

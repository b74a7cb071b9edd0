#!/bin/sh
# Give this machine its clients' keys and make and start its monitor and manager; prints "changed …" for what it did.
# usage: make-mon-mgr.sh NODE new|grown mon|- mgr|- NAME=ADDRESS…
set -eu
umask 077
node=$1 cluster=$2 mon=$3 mgr=$4
shift 4
keys=/var/lib/ceph/vm-mgr/cluster.keyring
fsid=$(sed -n 's/^# fsid //p' "$keys")

section() { # NAME: print one user's part of the keyring
    awk -v want="[$1]" '/^(\[|#)/ { wanted = $0 == want } wanted' "$keys"
}

install_key() { # NAME FILE OWNER
    [ -e "$2" ] && [ "$(cat "$2")" = "$(section "$1")" ] && return
    install -d -o "$3" -g "$3" "$(dirname "$2")"
    section "$1" >"$2.new"
    chown "$3:$3" "$2.new"
    mv "$2.new" "$2"
    echo "changed $2"
}

monitor_map() { # FILE ADDRESSES…: the running cluster's map when there is one, else one with all monitors
    file=$1
    shift
    [ "$cluster" = grown ] && ceph --connect-timeout 10 mon getmap -o "$file" >/dev/null 2>&1 && return
    monmaptool --create --clobber --fsid "$fsid" "$file" >/dev/null
    for peer in "$@"; do
        address=${peer#*=}
        case $address in *:*) address="[$address]" ;; esac
        monmaptool --addv "${peer%%=*}" "[v2:$address:3300,v1:$address:6789]" "$file" >/dev/null
    done
}

make_monitor() {
    data=/var/lib/ceph/mon/ceph-$node
    [ -e "$data/done" ] && return
    rm -rf "$data"
    install -d -o ceph -g ceph "$data"
    work=$(mktemp -d)
    cp "$keys" "$work/keyring"
    monitor_map "$work/map" "$@"
    chown -R ceph:ceph "$work"
    ceph-mon --mkfs -i "$node" --monmap "$work/map" --keyring "$work/keyring" --setuser ceph --setgroup ceph
    rm -rf "$work"
    touch "$data/done"
    echo "changed monitor"
}

enable_unit() {
    systemctl is-enabled --quiet "$1" 2>/dev/null || { systemctl enable --quiet "$1"; echo "changed $1 enabled"; }
    systemctl is-active --quiet "$1" || { systemctl start "$1"; echo "changed $1 started"; }
}

# Since bcrypt 4 that library refuses to be loaded by ceph-mgr, which runs each of its modules in an interpreter of its
# own; without this, no module works and Ceph never becomes healthy. Only the dashboard, which is not in Debian, calls it.
replace_bcrypt() {
    case $(dpkg-query -W -f='${Version}' python3-bcrypt) in [0-3].*) return ;; esac
    stub=/usr/lib/vm-mgr/ceph-mgr/bcrypt.py
    dropin=/etc/systemd/system/ceph-mgr@.service.d/vm-mgr.conf
    [ -e "$stub" ] && [ -e "$dropin" ] && return
    (
        umask 022
        mkdir -p "$(dirname "$stub")" "$(dirname "$dropin")"
        echo '"""Stands in for bcrypt in ceph-mgr, where the real one cannot be loaded. Nothing here may need it."""' >"$stub"
        printf '# Written by vm-mgr'"'"'s deployment; see %s.\n[Service]\nEnvironment=PYTHONPATH=%s\n' \
            "$stub" "$(dirname "$stub")" >"$dropin"
    )
    systemctl daemon-reload
    ! systemctl is-active --quiet "ceph-mgr@$node" || systemctl restart "ceph-mgr@$node"
    echo "changed $dropin"
}

# It has no key here, and with one it would warn for weeks of the modules that Debian's managers fail to load at each
# start. Without a key it tries to connect several times a second; the reports stay in /var/lib/ceph/crash.
stop_crash_collector() {
    systemctl is-enabled --quiet ceph-crash.service 2>/dev/null || return 0
    systemctl disable --quiet --now ceph-crash.service
    echo "changed ceph-crash.service disabled"
}

chmod 0755 /etc/ceph
stop_crash_collector
install_key client.admin /etc/ceph/ceph.client.admin.keyring root
install_key client.libvirt /etc/ceph/ceph.client.libvirt.keyring root
install_key client.vm-mgr /etc/ceph/ceph.client.vm-mgr.keyring root
install_key client.bootstrap-osd /var/lib/ceph/bootstrap-osd/ceph.keyring ceph
if [ "$mon" = mon ]; then
    make_monitor "$@"
    enable_unit "ceph-mon@$node"
fi
if [ "$mgr" = mgr ]; then
    replace_bcrypt
    install_key "mgr.$node" "/var/lib/ceph/mgr/ceph-$node/keyring" ceph
    enable_unit "ceph-mgr@$node"
fi
enable_unit ceph-mon.target
enable_unit ceph-mgr.target
enable_unit ceph-osd.target
enable_unit ceph.target

#!/bin/sh
# Bring libvirt's units into a form that a cluster can rely on; prints "changed …" for what it did.
set -eu

# The daemons end after two idle minutes by default and are started again by their socket; while the machine shuts
# down systemd would refuse that, and no VM could be moved away. What they say stays in English: a retry goes by it.
keep_running() { # UNIT VARIABLE
    dropin=/etc/systemd/system/$1.service.d/vm-mgr.conf
    text="# Written by vm-mgr's deployment.
[Service]
Environment=$2= LC_ALL=C.UTF-8"
    [ -e "$dropin" ] && [ "$(cat "$dropin")" = "$text" ] && return
    mkdir -p "$(dirname "$dropin")"
    printf '%s\n' "$text" >"$dropin"
    echo "changed $dropin"
}

keep_running libvirtd LIBVIRTD_ARGS
keep_running virtqemud VIRTQEMUD_ARGS

# libvirt-guests suspends and resumes VMs behind the cluster's back. Masked without stopping it: that would suspend.
if [ "$(systemctl is-enabled libvirt-guests.service 2>/dev/null)" != masked ]; then
    systemctl mask --quiet libvirt-guests.service
    echo "changed libvirt-guests masked"
fi

# One daemon or the modular ones, whichever this machine has.
unit=libvirtd
systemctl is-enabled --quiet virtqemud.service 2>/dev/null && unit=virtqemud
for unit in $unit.service $unit.socket virtlogd.socket virtlockd.socket; do
    systemctl is-enabled --quiet "$unit" 2>/dev/null || { systemctl enable --quiet "$unit"; echo "changed $unit enabled"; }
    systemctl is-active --quiet "$unit" || { systemctl start "$unit"; echo "changed $unit started"; }
done

#!/bin/sh
# Make the thin pool for VMs' disks on empty devices, and keep LVM away from what guests have on DRBD; prints "changed …"
# for what it did. Nothing that holds data is touched: a device is taken only if all that can know of it knows of nothing.
# usage: make-pool.sh VG POOL PERCENT existing|DEVICE…
set -eu
export LC_ALL=C.UTF-8
vg=$1 pool=$2 percent=$3
shift 3
root=${VM_MGR_ROOT:-}
local=$root/etc/lvm/lvmlocal.conf

fail() {
    echo "$*" >&2
    exit 1
}

# keep_away: LVM sees no DRBD devices. One who has a filter of his own has to say so himself: ours would replace it.
keep_away() {
    case $(lvmconfig devices/global_filter 2>/dev/null || :) in
    *drbd*) return 0 ;;
    '') ;;
    *) fail "LVM has a global_filter here that does not name DRBD: add \"r|^/dev/drbd|\" before what it accepts (/etc/lvm/lvm.conf)" ;;
    esac
    mkdir -p "${local%/*}"
    {
        [ ! -e "$local" ] || cat "$local"
        echo "# Written by vm-mgr's deployment: what guests have on their disks is not the node's."
        echo 'devices/global_filter = [ "r|^/dev/drbd|" ]'
    } >"$local.new"
    sync "$local.new"
    mv "$local.new" "$local"
    echo "changed $local"
}

# group_of DEVICE: print the volume group it is in; fails where it is no physical volume.
group_of() {
    pvs --noheadings --options vg_name "$1" 2>/dev/null | tr -d ' '
}

is_ours() {
    [ "$(group_of "$1")" = "$vg" ]
}

# refuse_used NAME DEVICE: end here unless it is empty.
refuse_used() {
    used="$1 is in use here"
    if pvs "$2" >/dev/null 2>&1; then
        group=$(group_of "$2")
        [ -z "$group" ] || fail "$used: it is in the volume group $group"
        fail "$used: it is a physical volume of LVM, of no group; if nobody needs it: pvremove $1"
    fi
    [ "$(blockdev --getro "$2")" = 0 ] || fail "$1 can't be written"
    below=$(lsblk --noheadings --raw --output NAME "$2" | sed 1d)
    [ -z "$below" ] || fail "$used: it has $(echo $below)"
    mounted=$(lsblk --noheadings --raw --output MOUNTPOINTS "$2")
    [ -z "$mounted" ] || fail "$used: mounted at, or swap: $mounted"
    found=$(wipefs --noheadings --output TYPE "$2")
    [ -z "$found" ] || fail "$used: it has a signature ($(echo $found)); if nobody needs it: wipefs --all $1"
}

keep_away

if [ "${1:-}" = existing ]; then
    lvs --noheadings --options lv_attr "$vg/$pool" 2>/dev/null | grep -q '^ *t' ||
        fail "there is no thin pool $vg/$pool here (drbd_existing)"
    exit 0
fi

# All are looked at before the first is touched.
wanted=
for name in "$@"; do
    device=$(readlink -f "$root$name")
    [ -b "$device" ] || [ -n "$root" ] || fail "$name is no block device"
    is_ours "$device" && continue
    refuse_used "$name" "$device"
    case " $wanted " in
    *" $device "*) ;;
    *) wanted="$wanted $device" ;;
    esac
done

# Without --yes: LVM asks before it overwrites a signature, and gets no answer.
if [ -n "$wanted" ]; then
    if vgs "$vg" >/dev/null 2>&1; then
        vgextend --quiet "$vg" $wanted </dev/null >/dev/null
    else
        vgcreate --quiet "$vg" $wanted </dev/null >/dev/null
    fi
    echo "changed $vg:$wanted"
fi
kind=$(lvs --noheadings --options lv_attr "$vg/$pool" 2>/dev/null) || kind=
case $(echo $kind) in
t*)
    [ -z "$wanted" ] || lvextend --quiet --extents "+$percent%FREE" "$vg/$pool" </dev/null >/dev/null
    ;;
'')
    lvcreate --quiet --type thin-pool --extents "$percent%FREE" --name "$pool" "$vg" </dev/null >/dev/null
    echo "changed $vg/$pool"
    ;;
*) fail "$vg/$pool is no thin pool" ;;
esac

# Restart libvirt's daemon, and wait until it answers; prints "later" where that is left to the play that takes one
# machine after the other. usage: now|later|due
set -eu
due=${VM_MGR_ROOT:-}/run/vm-mgr-libvirt-due
when=$1
for pid in "${VM_MGR_LIBVIRT_RUN:-/run/libvirt/qemu}"/*.pid; do
    [ "$when" != now ] || [ ! -e "$pid" ] || when=later
done
case $when in
later)
    : >"$due"
    echo later
    exit 0
    ;;
due) [ -e "$due" ] || exit 0 ;;
esac
systemctl daemon-reload
unit=
for one in libvirtd virtqemud; do
    ! systemctl is-enabled --quiet "$one.service" 2>/dev/null || unit=$one.service
done
[ -n "$unit" ] || { echo "neither virtqemud nor libvirtd is enabled" >&2; exit 1; }
systemctl restart "$unit"
rm -f "$due"
[ "$when" = due ] || exit 0
for _ in $(seq 60); do
    ! timeout 10 virsh --readonly --connect qemu:///system list >/dev/null 2>&1 || { echo restarted; exit 0; }
    sleep 1
done
echo "libvirt does not answer after its restart on $(uname -n); see: systemctl status $unit" >&2
exit 1

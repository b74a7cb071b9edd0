# The disk of a domain that no cluster knows: make DISK, or remove.
set -eu
case $1 in
make) qemu-img convert -f qcow2 -O raw "$2" rbd:rbd/system_hand:id=vm-mgr:conf=/etc/ceph/ceph.conf ;;
remove) rbd --no-progress rm rbd/system_hand ;;
esac

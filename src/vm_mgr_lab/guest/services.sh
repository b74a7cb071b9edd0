#!/bin/busybox sh
# All but the recorder, once it records: the other drivers, an address from the MAC, ssh, the power button.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t sysfs sysfs /sys
mkdir /dev/pts
mount -t devpts devpts /dev/pts
while read -r module; do
    insmod "/modules/$module"
done < /modules/others
hostname guest
ip link set lo up
for card in /sys/class/net/e*; do
    [ -e "$card" ] || continue
    # 52:54:00:00:00:c9 is 192.0.2.201: the last byte of the MAC is the last byte of the address.
    last=$(cut -d: -f6 "$card/address")
    ip address add "192.0.2.$((0x$last))/24" dev "${card##*/}"
    ip link set "${card##*/}" up
done
chmod -R go= /root
dropbear -R -s -E 2>/dev/null
exec perl /power-button.pl /dev/input/event*

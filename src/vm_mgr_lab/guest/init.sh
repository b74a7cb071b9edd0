#!/bin/busybox sh
# PID 1 of the lab's guest: the recorder, which waits for its disk, then drivers, an address from the MAC, and ssh.
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /root /var/run /var/log
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
perl /recorder.pl &
recorder=$!
while read -r module; do
    insmod "/modules/$module" 2>/dev/null
done < /modules/order
hostname guest
ip link set lo up
for card in /sys/class/net/e*; do
    [ -e "$card" ] || continue
    # 52:54:00:00:00:c9 is 192.0.2.201: the last byte of the MAC is the last byte of the address.
    last=$(cut -d: -f6 "$card/address")
    ip address add "192.0.2.$((0x$last))/24" dev "${card##*/}"
    ip link set "${card##*/}" up
done
chmod 700 /root /root/.ssh
chmod 600 /root/.ssh/authorized_keys
dropbear -R -s -E 2>/dev/null
perl /power-button.pl &
# Without the recorder the guest is of no use: its kernel panics, and says so.
wait "$recorder"

# Make running VMs without a system: COUNT OPTION NODE; their definition is on stdin.
cat >/root/tiny.xml
qemu-img create -q -f raw /root/tiny.raw 1M
vm-mgr create --name tiny0 --xml /root/tiny.xml --image /root/tiny.raw --image-format raw "$2" "$3"
for number in $(seq $(($1 - 1))); do
    vm-mgr clone tiny0 --dst-name "tiny$number"
done

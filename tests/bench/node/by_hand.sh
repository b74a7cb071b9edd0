# What create does, by hand, until Pacemaker says Started.
set -eu
qemu-img convert -f qcow2 -O raw "$2" "rbd:rbd/system_$1:id=vm-mgr:conf=/etc/ceph/ceph.conf"
cibadmin --create --scope resources --xml-pipe < /root/hand-primitive.xml
while ! crm_mon -1 --output-as=xml | grep -q "id=\"$1\".*role=\"Started\""; do sleep 0.1; done

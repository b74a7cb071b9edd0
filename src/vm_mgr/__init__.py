"""vm-mgr: highly available virtual machines on Pacemaker, libvirt and Ceph."""

"""vm-mgr: highly available virtual machines on Pacemaker, libvirt and Ceph."""

__version__ = "0.1.0"

"""vm-mgr: highly available virtual machines on Pacemaker, libvirt and Ceph."""

from os.path import realpath

__version__ = "0.1.0"

# A process stays with the version that it has begun with, where another one is put to use, too: most of it is
# imported late. Versions stand side by side, and the path of the one in use is a link.
__path__ = [realpath(folder) for folder in __path__]

"""The lab's guest: a small real Linux that keeps a record of every write that was acknowledged to it."""

from vm_mgr_lab.guest.build import base_image, console_log, domain_xml, guest_image
from vm_mgr_lab.guest.kvm import kvm_works
from vm_mgr_lab.guest.records import Record, read_console, read_disk

__all__ = [
    "Record",
    "base_image",
    "console_log",
    "domain_xml",
    "guest_image",
    "kvm_works",
    "read_console",
    "read_disk",
]

"""What operations may be given that make a VM, or change what is stored of it."""

from vm_mgr.model.fields import Field
from vm_mgr.model.health_checks import LEVELS
from vm_mgr.model.settings import SETTINGS
from vm_mgr.operations.requests.vms import NAME, OVERCOMMIT, RESTART_OTHERS
from vm_mgr.operations.support.requirements import UNFIT
from vm_mgr.operations.support.ties import ALLOWABLE

__all__ = ["FIELDS"]

_SETTINGS = tuple(setting.field._replace(argument="settings") for setting in SETTINGS)
_ACCEPT = (
    "Accept what is otherwise refused: a TPM, or firmware variables, that stay on a node; what another VM "
    "has, too: a MAC address, a log, a port; a definition that needs what no node has"
)
_ALLOW = Field("allow", f"{_ACCEPT}.", options=("--allow",), words=(*ALLOWABLE, UNFIT), many=True)
_ALLOW_ANY = _ALLOW._replace(
    help=f"{_ACCEPT}; a guest that is too large for every node. Of a pinned VM only its node is looked at.",
    words=(*ALLOWABLE, UNFIT, *OVERCOMMIT.words),
)
_NO_CHECK = Field(
    "no_check",
    "Turn this check off; can be repeated.",
    options=("--no-check",),
    words=tuple(LEVELS),
    many=True,
    argument="settings",
)
_STORAGE = Field(
    "storage",
    "The storage for the new VM, if the configuration has several.",
    options=("--storage",),
    metavar="LABEL",
    completes="storage",
)
_ENABLE = Field(
    "enable", "Keep the VM out of the cluster's control for now.", "flag", ("--disable",), negates=True
)
_START = Field("start", "Leave the VM stopped.", "flag", ("--nostart",), negates=True)


def _file(name: str, text: str, *options: str, required: bool = False, argument: str = "") -> Field:
    return Field(
        name,
        text,
        options=options,
        metavar="FILE",
        required=required,
        completes="file",
        argument=argument,
    )


def _force(which: str) -> Field:
    return Field("force", f"Replace an existing VM of {which} name, with its disks.", "flag", ("--force",))


def _clear(option: str, text: str) -> Field:
    return Field(option.replace("-", "_"), text, "flag", (f"--{option}",), argument="settings")


def _cards(name: str, text: str, metavar: str) -> Field:
    option = "--" + name.replace("_", "-")
    return Field(name, text, options=(option,), metavar=metavar, many=True, argument="devices")


FIELDS: dict[str, tuple[Field, ...]] = {
    "add-to-cluster": (
        NAME._replace(argument="domain"),
        _file("image", "Use this image as system disk instead of the definition's.", "-i", "--image"),
        Field(
            "new", "The VM's name in the cluster.", options=("--new-name",), metavar="NEW", argument="name"
        ),
        _file(
            "xml",
            "Its definition, for a VM that another agent runs in the cluster (ocf:heartbeat:VirtualDomain).",
            "--xml",
        )._replace(sort="document"),
        _ENABLE,
        _START,
        _force("the new"),
        _STORAGE,
        _ALLOW_ANY,
        *_SETTINGS,
    ),
    "clone": (
        NAME._replace(argument="source"),
        Field(
            "new",
            "The name of the new VM.",
            options=("--dst-name",),
            metavar="NEW",
            required=True,
            argument="name",
        ),
        _file("xml", "Use this definition instead of the source's.", "--xml")._replace(sort="document"),
        Field("full", "Copy the disks instead of sharing their blocks.", "flag", ("--full",)),
        _clear(
            "clear-constraint",
            "Don't take over the pinned or preferred host, the failback and the colocations.",
        ),
        _clear("clear-pacemaker-meta", "Don't take over the meta attributes."),
        _clear("clear-pacemaker-params", "Don't take over the agent's parameters."),
        _clear("clear-pacemaker-utilization", "Don't take over the utilization."),
        _ENABLE,
        _START,
        _force("the new"),
        _NO_CHECK,
        _ALLOW_ANY,
        *_SETTINGS,
    ),
    "create": (
        NAME,
        _file("xml", "The libvirt domain definition; else one is made.", "--xml")._replace(sort="document"),
        _file(
            "image",
            "The image of the system disk: qcow2, raw, vmdk, vdi, vhdx, vhd or qed.",
            "-i",
            "--image",
            argument="images",
        ),
        Field(
            "disk_bytes",
            "The size of the system disk: larger than its image, or empty without one.",
            "size",
            ("--disk",),
            "SIZE",
            "bytes",
        ),
        Field(
            "memory_bytes",
            "Without --xml: the guest's memory; 2G by default.",
            "size",
            ("--memory",),
            "SIZE",
            "bytes",
            argument="xml",
        ),
        Field(
            "vcpus",
            "Without --xml: the number of vCPUs; 2 by default.",
            "number",
            ("--vcpus",),
            "N",
            least=1,
            argument="xml",
        ),
        Field(
            "cards",
            "Without --xml: a network card, br0 or bridge=br0,model=virtio,mac=MAC; can be repeated.",
            options=("--network",),
            metavar="CARD",
            many=True,
            argument="xml",
        ),
        _file("iso", "Without --xml: the ISO image in the optical drive.", "--iso", argument="xml"),
        _file(
            "more", "The image of a further disk; can be repeated.", "--additional-disk", argument="images"
        )._replace(many=True),
        Field(
            "image_format",
            "The format of an image that has no signature, mostly raw; FORMAT alone is that of all images. "
            "Can be repeated.",
            options=("--image-format",),
            metavar="[FILE:]FORMAT",
            many=True,
            argument="formats",
        ),
        _ENABLE,
        _START,
        _force("this"),
        Field("verify", "Read the copied disks again and compare them.", "flag", ("--verify",)),
        _STORAGE,
        _ALLOW_ANY,
        *_SETTINGS,
    ),
    "edit": (
        NAME,
        _file("xml", "Read the new definition from this file; for scripts.", "--file")._replace(
            sort="document"
        ),
        Field("before", "The definition as it was read: a change by others is noticed.", "document"),
        _ALLOW,
    ),
    "import": (
        Field(
            "file",
            "The OVA, or the OVF with its files beside it.",
            metavar="FILE",
            required=True,
            completes="file",
        ),
        Field(
            "named",
            "The name of the new VM; by default the one in the OVF.",
            options=("-n", "--name"),
            metavar="NEW",
            argument="name",
        ),
        Field(
            "network",
            "Connect network cards to this bridge, to network:NAME of libvirt, or leave them out with none. "
            "OVFNAME= before it means the cards on that network of the OVF alone; can be repeated.",
            options=("--network",),
            metavar="[OVFNAME=]BRIDGE",
            many=True,
            argument="networks",
        ),
        Field("keep_macs", "Keep the MAC addresses of the OVF.", "flag", ("--keep-macs",)),
        Field(
            "kvm",
            "Emulate the processors, for nodes without hardware virtualisation.",
            "flag",
            ("--no-kvm",),
            negates=True,
        ),
        _ENABLE,
        _START,
        _force("the new"),
        Field("verify", "Read the copied disks again and compare them.", "flag", ("--verify",)),
        _STORAGE,
        _ALLOW_ANY,
        *_SETTINGS,
    ),
    "set": (
        NAME,
        Field(
            "memory_bytes",
            "The guest's memory from its next start on, for example 4G.",
            "size",
            ("--memory",),
            "SIZE",
            "bytes",
        ),
        Field("vcpus", "The number of vCPUs from the next start on.", "number", ("--vcpus",), "N", least=1),
        Field(
            "description",
            "A description, kept in the definition.",
            options=("--description",),
            metavar="TEXT",
        ),
        _clear("disable-live-migration", "Stop the guest when the VM is moved."),
        Field(
            "unset",
            "Reset this setting to its default; can be repeated.",
            options=("--unset",),
            words=tuple(sorted(setting.field.word for setting in SETTINGS if setting.unset)),
            many=True,
            argument="settings",
        ),
        _cards("add_network", "Add a network card: br0, or bridge=br0,model=virtio,mac=MAC.", "CARD"),
        _cards(
            "change_network", "Change the card of this address: model, new address or bridge.", "MAC,CARD"
        ),
        _cards("remove_network", "Remove the network card of this address.", "MAC"),
        _file("insert", "Put this ISO image into the optical drive.", "--insert", argument="devices"),
        Field("eject", "Empty the optical drive.", "flag", ("--eject",), argument="devices"),
        Field(
            "drive",
            "The drive for --insert or --eject, for example sdb; the only optical one if not given.",
            options=("--drive",),
            metavar="TARGET",
            argument="devices",
        ),
        _NO_CHECK,
        _ALLOW_ANY,
        RESTART_OTHERS,
        *_SETTINGS,
    ),
}

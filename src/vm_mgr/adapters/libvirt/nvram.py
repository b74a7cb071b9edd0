"""Find where libvirt keeps the UEFI variables and the TPM of a domain, and give it places of its own.

The default places are those of libvirt's qemu driver (https://libvirt.org/formatdomain.html, elements nvram
and tpm); both are named by the UUID here, which a VM keeps through a rename and no other VM has.
"""

from lxml import etree

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.nvram import NvramPlaces

__all__ = ["nvram_places", "nvram_problems", "outlive_power_off", "own_nvram"]

VARIABLES = "/var/lib/libvirt/qemu/nvram"
TPM = "/var/lib/libvirt/swtpm"


def nvram_places(root: etree._Element, name: str, uuid: str) -> NvramPlaces:
    """Name the places; nothing for what the domain has not, or keeps in a storage or a device by itself."""
    return NvramPlaces(_variables(root, name), _tpm(root, uuid))


def own_nvram(root: etree._Element, uuid: str) -> str:
    """Give the variables a file that no other VM has; a TPM has one by the UUID.

    Gives the file that was named before, if it was another one.
    """
    named, own = _named(root), f"{VARIABLES}/{uuid}_VARS.fd"
    has = _has_variables(root)
    if has:
        system = root.find("os")
        assert system is not None  # noqa: S101 - it has variables
        store = system.find("nvram")
        if store is None:
            store = etree.SubElement(system, "nvram")
            _behind_loader(system, store)
        for source in store.findall("source"):
            store.remove(source)
        if store.get("type"):
            del store.attrib["type"]
        store.text = own
    outlive_power_off(root)
    return named if has and named != own else ""


def outlive_power_off(root: etree._Element) -> None:
    """Have libvirt keep the state of an emulated TPM when it powers the domain off."""
    backend = _emulated(root)
    if backend is not None:
        backend.set("persistent_state", "yes")


def nvram_problems(root: etree._Element) -> list[VmMgrError]:
    """Refuse variables in qcow2: a copy of the file while QEMU has it open may not be whole."""
    store = root.find("os/nvram")
    if store is None or store.get("format", "raw") == "raw":
        return []
    message = f"the UEFI variables are in a file of the format {store.get('format')}"
    return [VmMgrError(Kind.NOT_SUPPORTED, message, hint="have them raw: remove the format from <nvram>")]


def _behind_loader(system: etree._Element, store: etree._Element) -> None:
    """Put it where libvirt's schema is used to have it."""
    loader = system.find("loader")
    if loader is not None:
        loader.addnext(store)


def _has_variables(root: etree._Element) -> bool:
    """Tell a domain with UEFI variables in a file: it has no BIOS, and is not stateless."""
    system = root.find("os")
    if system is None:
        return False
    loader, store = system.find("loader"), system.find("nvram")
    if loader is not None and loader.get("stateless") == "yes":
        return False
    if store is not None and store.get("type", "file") != "file":
        return False
    flash = loader is not None and loader.get("type") == "pflash"
    return system.get("firmware") == "efi" or flash or store is not None


def _variables(root: etree._Element, name: str) -> str:
    if not _has_variables(root):
        return ""
    return _named(root) or f"{VARIABLES}/{name}_VARS.fd"


def _named(root: etree._Element) -> str:
    store, source = root.find("os/nvram"), root.find("os/nvram/source")
    text = "" if store is None else (store.text or "").strip()
    return text or ("" if source is None else str(source.get("file", "")))


def _emulated(root: etree._Element) -> etree._Element | None:
    """Find one whose state libvirt places: where a definition says where, that is its user's to keep."""
    backend = root.find("devices/tpm/backend[@type='emulator']")
    return backend if backend is not None and backend.find("source") is None else None


def _tpm(root: etree._Element, uuid: str) -> str:
    backend = _emulated(root)
    if backend is None:
        return ""
    # Without a version libvirt takes 2.0 by now; the folder is named by it.
    version = "tpm1.2" if backend.get("version") == "1.2" else "tpm2"
    return f"{TPM}/{uuid}/{version}" if uuid else ""

"""Describe what of a VM's devices is to change: network cards and optical media; and a new VM's machine."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError

__all__ = ["Card", "CardChange", "DeviceChange", "Medium", "NewMachine", "changes_of", "new_card"]

MODELS = ("virtio", "e1000e", "e1000", "rtl8139", "ne2k_pci", "vmxnet3")
CARD_HINT = "write br0, or bridge=br0,model=virtio,mac=52:54:00:12:34:56; network=NAME for libvirt's"
# Addresses of single cards have an even first byte.
_MAC = re.compile(r"[0-9a-f][02468ace](?::[0-9a-f]{2}){5}")
# What Linux allows as an interface's name; libvirt's names of networks have few limits.
_SOURCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}")


class Card(NamedTuple):
    """A network card: on a bridge of the nodes, or on a network of libvirt; empty fields are not given."""

    bridge: str = ""
    network: str = ""
    model: str = ""
    mac: str = ""


class CardChange(NamedTuple):
    """A card to add (mac is empty), to change, or to remove (card is None)."""

    mac: str = ""
    card: Card | None = None


class Medium(NamedTuple):
    """An image for a drive; none to eject what is in it. drive: its target; the only optical one if empty."""

    path: str = ""
    drive: str = ""


DeviceChange = CardChange | Medium


class NewMachine(NamedTuple):
    """What a VM that is made without a definition gets; kvm: its type, which all nodes must have."""

    memory_bytes: int = 2 << 30
    vcpus: int = 2
    cards: tuple[Card, ...] = ()
    iso: str = ""
    kvm: bool = False


def card_of(text: str) -> Card:
    """Read a card: the name of a bridge, or pairs; raises INVALID.

    >>> card_of("br0")
    Card(bridge='br0', network='', model='', mac='')
    >>> card_of("network=default,model=e1000,mac=52:54:00:AA:00:01")
    Card(bridge='', network='default', model='e1000', mac='52:54:00:aa:00:01')
    """
    pairs = [part.partition("=") for part in text.split(",")]
    given = {key if equals else "bridge": value if equals else key for key, equals, value in pairs}
    if len(given) < len(pairs) or set(given) - set(Card._fields) or not all(given.values()):
        raise VmMgrError(Kind.INVALID, f"{text[:80]!r} is no network card", hint=CARD_HINT)
    card = Card(**given | ({"mac": mac_of(given["mac"])} if "mac" in given else {}))
    if card.bridge and card.network:
        raise VmMgrError(Kind.INVALID, f"{text[:80]!r} is in two networks", hint=CARD_HINT)
    for source in filter(None, (card.bridge, card.network)):
        if not _SOURCE.fullmatch(source):
            raise VmMgrError(Kind.INVALID, f"{source[:80]!r} is no name of a network", hint=CARD_HINT)
    if card.model and card.model not in MODELS:
        hint = f"use one of {', '.join(MODELS)}"
        raise VmMgrError(Kind.INVALID, f"unknown model {card.model[:40]!r} of a network card", hint=hint)
    return card


def mac_of(text: str) -> str:
    """Read the address of a network card; raises INVALID.

    >>> mac_of("52-54-00-AB-00-01")
    '52:54:00:ab:00:01'
    """
    mac = text.lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        hint = "write it as 52:54:00:12:34:56; an odd first byte is for groups of cards"
        raise VmMgrError(Kind.INVALID, f"{text[:40]!r} is no address of a network card", hint=hint)
    return mac


def new_card(text: str) -> Card:
    """Read a card that is to be added: it has to be in some network."""
    card = card_of(text)
    if not (card.bridge or card.network):
        raise VmMgrError(Kind.INVALID, f"{text[:80]!r} is in no network", hint=CARD_HINT)
    return card


def changes_of(
    add: Sequence[str],
    change: Sequence[str],
    remove: Sequence[str],
    insert: str | None,
    *,
    eject: bool,
    drive: str = "",
) -> tuple[DeviceChange, ...]:
    """Read what the options of `set` say; raises INVALID.

    >>> changes_of(["br0"], [], ["52:54:00:00:00:01"], None, eject=True)[1:]
    (CardChange(mac='52:54:00:00:00:01', card=None), Medium(path='', drive=''))
    """
    if insert is not None and eject:
        raise VmMgrError(Kind.INVALID, "a medium is either inserted or ejected", hint="--insert replaces one")
    if drive and insert is None and not eject:
        hint = "give --insert FILE, or --eject"
        raise VmMgrError(Kind.INVALID, f"nothing is to be done with the drive {drive[:40]!r}", hint=hint)
    cards = [CardChange(card=new_card(text)) for text in add]
    for text in change:
        mac, _, rest = text.partition(",")
        cards.append(CardChange(mac_of(mac), card_of(rest)))
    cards += [CardChange(mac_of(text)) for text in remove]
    media = [Medium(insert or "", drive)] if eject or insert is not None else []
    return (*cards, *media)

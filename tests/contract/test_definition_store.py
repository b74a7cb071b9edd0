"""What every store of definitions beside the storage does."""

import pytest

from vm_mgr.adapters.memory.definition_store import MemoryDefinitionStore
from vm_mgr.adapters.pacemaker.cib_definitions import CibDefinitions
from vm_mgr.errors import Kind, VmMgrError

NAME = "contract1"
OTHER = "contract3"
NEIGHBOURS = ("contract1_0", "contract1-meta", "contract1.a")
# Whatever XML, people and other tools put into a text.
TEXTS = {
    "xml": "<domain type='kvm'>\n\t<name>a &amp; \"b\"</name>\n</domain>\n",
    "stonith-enabled": "false",
    "note": "größe\x7f\\n \r  x  ]]>",
    "bytes": "\udcff\x00end",
}


@pytest.fixture(params=["memory", "cib"])
def store(request, env, real, memory_cib):
    if real and request.param == "cib":
        built = env.cluster.definition_store()
    else:
        built = CibDefinitions(memory_cib) if request.param == "cib" else MemoryDefinitionStore()
    for name in (NAME, OTHER, *NEIGHBOURS):
        built.remove(name)
    yield built
    for name in (NAME, OTHER, *NEIGHBOURS):
        built.remove(name)


def test_texts_are_given_back_as_they_were(store):
    store.describe(NAME, TEXTS)
    assert store.metadata(NAME) == TEXTS
    assert NAME in store.names()


def test_keys_are_replaced_added_and_removed(store):
    store.describe(NAME, {"xml": "a", "note": "b"})
    store.describe(NAME, {"xml": "c", "note": None, "other": "d", "empty": ""})
    assert store.metadata(NAME) == {"xml": "c", "other": "d"}
    store.describe(NAME, {"xml": None, "other": ""})
    assert NAME not in store.names()


def test_vm_that_is_nowhere_is_not_found(store):
    with pytest.raises(VmMgrError) as caught:
        store.metadata(NAME)
    assert caught.value.kind is Kind.NOT_FOUND
    store.rename(NAME, OTHER)
    assert not store.remove(NAME)
    assert OTHER not in store.names()


def test_neighbours_keep_theirs_when_a_vm_is_renamed_and_removed(store):
    for name in (NAME, *NEIGHBOURS):
        store.describe(name, {"xml": name})
    store.describe(OTHER, {"xml": "left over", "more": "x"})
    store.rename(NAME, OTHER)
    assert store.metadata(OTHER) == {"xml": NAME}
    assert store.remove(OTHER)
    assert {name: store.metadata(name)["xml"] for name in NEIGHBOURS} == {name: name for name in NEIGHBOURS}
    assert not {NAME, OTHER} & store.names()

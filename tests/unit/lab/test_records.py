import pytest

from vm_mgr_lab import checkers
from vm_mgr_lab.guest import Record, read_console, read_disk


def sector(text: str) -> bytes:
    return f"{text} sum={sum(text.encode())}".ljust(511).encode() + b"\n"


def record(seq: int, boot: str = "a", time_s: float | None = None) -> Record:
    return Record(seq=seq, boot=boot, time_s=1000.0 + seq / 10 if time_s is None else time_s)


def test_disk_gives_intact_records_in_order() -> None:
    partition = sector("VMREC1 boot=b seq=2 time=2.0") + sector("VMREC1 boot=b seq=1 time=1.5") + bytes(512)
    assert read_disk(partition) == [Record(1, "b", 1.5), Record(2, "b", 2.0)]


def test_torn_record_is_not_read() -> None:
    torn = sector("VMREC1 boot=b seq=2 time=2.0").replace(b"seq=2", b"seq=3")
    assert read_disk(torn) == []


def test_console_gives_only_acknowledged_records() -> None:
    text = "SeaBIOS\nRECORDER boot=b after=-1\nVMREC1 boot=b seq=0 time=1.0\r\nWRITE-FAILED seq=1 error=x\n"
    assert read_console(text) == [Record(0, "b", 1.0)]


def test_nothing_lost_when_disk_has_all_and_more() -> None:
    disk = [record(i) for i in range(5)]
    assert checkers.lost_records(disk, {"n1": disk[:4]}) == []


@pytest.mark.parametrize("gone", [0, 2, 4])
def test_acknowledged_record_that_is_missing_is_found(gone: int) -> None:
    console = [record(i) for i in range(5)]
    disk = [r for r in console if r.seq != gone]
    assert checkers.lost_records(disk, {"n1": console})


def test_acknowledged_record_that_another_boot_overwrote_is_found() -> None:
    disk = [record(0), record(1, "b"), record(2, "b")]
    assert checkers.lost_records(disk, {"n1": [record(0), record(1, "a")]})


def test_empty_disk_is_a_loss() -> None:
    assert checkers.lost_records([], {"n1": []})


def test_one_boot_after_another_is_one_writer() -> None:
    disk = [record(0), record(1), record(2, "b"), record(3, "b")]
    assert checkers.several_writers(disk) == []


def test_interleaved_boots_are_several_writers() -> None:
    disk = [record(0), record(1, "b"), record(2), record(3, "b")]
    assert checkers.several_writers(disk)


def test_overlapping_boots_are_several_writers() -> None:
    disk = [record(0, "a", 100.0), record(1, "a", 130.0), record(2, "b", 110.0)]
    assert checkers.several_writers(disk)

"""Names come and go with their objects, and names above them exist as long as they do."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.dns.records import Record
from podhost.dns.zone import Zone


def make_zone() -> Zone:
    return Zone("cluster.local", (IPv4Network("10.1.0.0/17"), IPv4Network("10.1.128.0/17")))


def test_a_record_of_two_objects_stays_until_both_have_gone() -> None:
    zone, record = make_zone(), Record("a.b.svc.cluster.local", "A", "10.1.0.2")
    zone.replace("one", (record,))
    zone.replace("two", (record,))
    zone.replace("one", ())
    assert zone.find("a.b.svc.cluster.local") == [record]
    assert zone.find("b.svc.cluster.local") == []
    zone.replace("two", ())
    assert zone.find("a.b.svc.cluster.local") is None
    assert zone.find("b.svc.cluster.local") is None
    assert zone.find("cluster.local") == []


def test_the_serial_counts_changes_only() -> None:
    zone, record = make_zone(), Record("a.b.svc.cluster.local", "A", "10.1.0.2")
    zone.replace("one", (record,))
    before = zone.serial
    zone.replace("one", (record,))
    assert zone.serial == before
    zone.replace("one", ())
    assert zone.serial == before + 1


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("cluster.local", True),
        ("x.cluster.local", True),
        ("xcluster.local", False),
        ("debian.org", False),
        ("2.0.1.10.in-addr.arpa", True),
        ("2.200.1.10.in-addr.arpa", True),
        ("2.0.2.10.in-addr.arpa", False),
        ("999.0.1.10.in-addr.arpa", False),
        ("1.10.in-addr.arpa", False),
        ("", False),
    ],
)
def test_only_names_of_the_cluster_and_its_networks_are_ours(name: str, ours: bool) -> None:
    assert make_zone().is_ours(name) is ours


_NAMES = st.sampled_from(["a", "b", "a.b", "b.a", "a.b.a"]).map(lambda name: f"{name}.cluster.local")
_RECORDS = st.builds(Record, name=_NAMES, type=st.just("A"), data=st.sampled_from(["10.1.0.1", "10.1.0.2"]))


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.lists(_RECORDS, unique=True, max_size=3)), max_size=12))
def test_after_any_changes_the_zone_is_that_of_the_last_records(changes: list[tuple[str, list[Record]]]) -> None:
    changed, last = make_zone(), make_zone()
    for owner, records in changes:
        changed.replace(owner, records)
    for owner, records in dict(changes).items():
        last.replace(owner, records)
    for name in ("a", "b", "a.b", "b.a", "a.b.a"):
        ours, theirs = changed.find(f"{name}.cluster.local"), last.find(f"{name}.cluster.local")
        assert (ours if ours is None else set(ours)) == (theirs if theirs is None else set(theirs))

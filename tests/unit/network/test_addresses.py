"""Pod addresses and host ports: who has what, also after a restart."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from podhost.cri.ids import SandboxId
from podhost.cri.runtime import PortMapping
from podhost.errors import ConflictError, ExhaustedError
from podhost.network.addresses import AttachmentRecords, find_clash_within, ports_clash

CIDR = IPv4Network("10.1.0.0/29")
NETNS = Path("/run/netns/x")


def port(number: int, protocol: str = "TCP", host_ip: str = "") -> PortMapping:
    return PortMapping(protocol=protocol, container_port=80, host_port=number, host_ip=host_ip)  # type: ignore[arg-type]


@pytest.fixture
def records(tmp_path: Path) -> AttachmentRecords:
    made = AttachmentRecords(tmp_path, CIDR)
    made.load()
    return made


def take(records: AttachmentRecords, name: str, *ports: PortMapping) -> str:
    attachment = records.reserve(SandboxId(name), NETNS, ports)
    records.save(attachment)
    return str(attachment.address)


def give_back(records: AttachmentRecords, name: str) -> None:
    attachment = records.forget_ports(SandboxId(name))
    assert attachment is not None
    records.erase(attachment)
    records.free(attachment)


def test_addresses_are_given_out_in_turn_and_a_freed_one_last(records: AttachmentRecords) -> None:
    assert [take(records, name) for name in "ab"] == ["10.1.0.2", "10.1.0.3"]
    give_back(records, "a")
    assert [take(records, name) for name in "cdef"] == ["10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.2"]
    with pytest.raises(ExhaustedError, match=r"all 5 of 10\.1\.0\.0/29 are in use"):
        take(records, "g")


def test_address_stays_taken_until_it_is_freed(records: AttachmentRecords) -> None:
    for name in "abcde":
        take(records, name)
    attachment = records.forget_ports(SandboxId("a"))
    assert attachment is not None
    with pytest.raises(ExhaustedError):
        take(records, "f")
    records.free(attachment)
    assert take(records, "f") == "10.1.0.2"


def test_records_survive_a_restart_and_broken_ones_are_removed(tmp_path: Path, records: AttachmentRecords) -> None:
    take(records, "a", port(8080, host_ip="127.0.0.1"))
    take(records, "b")
    (tmp_path / "10.1.0.5").write_text("{")
    (tmp_path / ".10.1.0.6.tmp").write_text("half")
    again = AttachmentRecords(tmp_path, CIDR)
    again.load()
    assert again.all() == records.all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10.1.0.2", "10.1.0.3"]
    assert take(again, "c") == "10.1.0.4"
    moved = AttachmentRecords(tmp_path, IPv4Network("10.2.0.0/29"))
    moved.load()
    assert moved.all() == []


def test_host_port_of_another_is_refused_and_free_again_when_it_leaves(records: AttachmentRecords) -> None:
    take(records, "a", port(8080))
    with pytest.raises(ConflictError, match="cannot publish host port 8080/TCP: it belongs to pod a"):
        records.reserve(SandboxId("b"), NETNS, (port(8080),), lambda sandbox_id: f"pod {sandbox_id}")
    assert records.find(SandboxId("b")) is None
    records.forget_ports(SandboxId("a"))
    take(records, "b", port(8080))


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        (port(80), port(80), True),
        (port(80), port(81), False),
        (port(80), port(80, "UDP"), False),
        (port(80, host_ip="127.0.0.1"), port(80), True),
        (port(80, host_ip="127.0.0.1"), port(80, host_ip="0.0.0.0"), True),
        (port(80, host_ip="127.0.0.1"), port(80, host_ip="192.0.2.1"), False),
    ],
)
def test_when_host_ports_clash(one: PortMapping, other: PortMapping, clash: bool) -> None:
    assert ports_clash(one, other) is ports_clash(other, one) is clash
    assert (find_clash_within([one, other]) is not None) is clash

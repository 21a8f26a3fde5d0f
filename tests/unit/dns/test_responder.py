"""Queries as bytes, answers as bytes: dnspython on the client's side too, but nothing of ours."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.dns.records import Record
from podhost.dns.responder import respond
from podhost.dns.upstream import Forward
from podhost.dns.zone import Zone

WEB = "web.shop.svc.cluster.local"


@pytest.fixture(scope="module")
def zone() -> Zone:
    made = Zone("cluster.local", (IPv4Network("10.1.0.0/16"),))
    made.replace("web", (Record(WEB, "A", "10.1.128.9"), Record("9.128.1.10.in-addr.arpa", "PTR", f"{WEB}.")))
    made.replace("ext", (Record("ext.shop.svc.cluster.local", "CNAME", "db.example.com."),))
    targets = [f"p{index}.many.shop.svc.cluster.local" for index in range(60)]
    made.replace("many", (Record("many.shop.svc.cluster.local", "A", f"10.1.0.{i}") for i in range(60)))
    made.replace("srv", (Record("_p._tcp.many.shop.svc.cluster.local", "SRV", f"0 100 80 {t}.") for t in targets[:2]))
    made.replace("hosts", (Record(target, "A", f"10.1.1.{i}") for i, target in enumerate(targets[:2])))
    return made


def ask(zone: Zone, name: str, rdtype: str = "A", *, over_tcp: bool = False, payload: int = 0) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype, use_edns=bool(payload), payload=payload)
    wire = respond(zone, query.to_wire(), over_tcp=over_tcp)
    assert isinstance(wire, bytes)
    answer = dns.message.from_wire(wire)
    assert query.is_response(answer)
    return answer


def data_of(answer: dns.message.Message) -> list[str]:
    return sorted(rdata.to_text() for rrset in answer.answer for rdata in rrset)


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode", "data"),
    [
        (f"{WEB}.", "A", dns.rcode.NOERROR, ["10.1.128.9"]),
        ("WeB.Shop.SVC.cluster.LOCAL.", "A", dns.rcode.NOERROR, ["10.1.128.9"]),
        (f"{WEB}.", "AAAA", dns.rcode.NOERROR, []),
        ("shop.svc.cluster.local.", "A", dns.rcode.NOERROR, []),
        ("none.shop.svc.cluster.local.", "A", dns.rcode.NXDOMAIN, []),
        ("9.128.1.10.in-addr.arpa.", "PTR", dns.rcode.NOERROR, [f"{WEB}."]),
        ("8.128.1.10.in-addr.arpa.", "PTR", dns.rcode.NXDOMAIN, []),
        ("dns-version.cluster.local.", "TXT", dns.rcode.NOERROR, ['"1.1.0"']),
        ("cluster.local.", "NS", dns.rcode.NOERROR, ["ns.dns.cluster.local."]),
        ("ext.shop.svc.cluster.local.", "CNAME", dns.rcode.NOERROR, ["db.example.com."]),
    ],
)
def test_names_of_the_cluster(zone: Zone, name: str, rdtype: str, rcode: dns.rcode.Rcode, data: list[str]) -> None:
    answer = ask(zone, name, rdtype)
    assert (answer.rcode(), data_of(answer)) == (rcode, data)
    assert answer.flags & dns.flags.AA
    assert answer.flags & dns.flags.RA
    # Without the SOA record no resolver may keep a negative answer.
    assert bool(answer.authority) is (not data)


def test_addresses_come_with_the_names_of_srv_records(zone: Zone) -> None:
    answer = ask(zone, "_p._tcp.many.shop.svc.cluster.local.", "SRV")
    assert len(data_of(answer)) == 2
    assert {rdata.to_text() for rrset in answer.additional for rdata in rrset} == {"10.1.1.0", "10.1.1.1"}


def test_what_does_not_fit_is_cut_off_and_whole_over_tcp(zone: Zone) -> None:
    name = "many.shop.svc.cluster.local."
    assert ask(zone, name).flags & dns.flags.TC
    assert len(data_of(ask(zone, name, payload=4096))) == 60
    assert len(data_of(ask(zone, name, over_tcp=True))) == 60


def test_other_names_are_for_upstream_and_its_silence_is_a_failure(zone: Zone) -> None:
    query = dns.message.make_query("debian.org.", "A").to_wire()
    forward = respond(zone, query, over_tcp=False)
    assert isinstance(forward, Forward)
    assert forward.query == query
    assert forward.finish(b"as it came") == b"as it came"
    assert dns.message.from_wire(forward.finish(None)).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize("found", [None, b"", b"rubbish that is no message"])
def test_an_external_name_whose_target_cannot_be_asked_is_a_failure(zone: Zone, found: bytes | None) -> None:
    forward = respond(zone, dns.message.make_query("ext.shop.svc.cluster.local.", "A").to_wire(), over_tcp=False)
    assert isinstance(forward, Forward)
    answer = dns.message.from_wire(forward.finish(found))
    assert (answer.rcode(), answer.answer) == (dns.rcode.SERVFAIL, [])


def test_an_external_name_comes_with_the_addresses_of_its_target(zone: Zone) -> None:
    query = dns.message.make_query("ext.shop.svc.cluster.local.", "A")
    forward = respond(zone, query.to_wire(), over_tcp=False)
    assert isinstance(forward, Forward)
    asked = dns.message.from_wire(forward.query)
    assert asked.question[0].name.to_text() == "db.example.com."
    told = dns.message.make_response(asked)
    told.answer.append(dns.rrset.from_text("db.example.com.", 60, "IN", "A", "192.0.2.1"))
    answer = dns.message.from_wire(forward.finish(told.to_wire()))
    assert query.is_response(answer)
    assert data_of(answer) == ["192.0.2.1", "db.example.com."]


def _update(query: dns.message.Message) -> None:
    query.set_opcode(dns.opcode.NOTIFY)


def _no_question(query: dns.message.Message) -> None:
    query.question.clear()


@pytest.mark.parametrize(
    ("change", "rdtype", "rcode"),
    [
        (_update, "A", dns.rcode.NOTIMP),
        (_no_question, "A", dns.rcode.FORMERR),
        (lambda query: None, "AXFR", dns.rcode.REFUSED),
    ],
)
def test_what_is_no_plain_question_is_refused(
    zone: Zone, change: Callable[[dns.message.Message], None], rdtype: str, rcode: dns.rcode.Rcode
) -> None:
    query = dns.message.make_query(f"{WEB}.", rdtype)
    change(query)
    wire = respond(zone, query.to_wire(), over_tcp=True)
    assert isinstance(wire, bytes)
    assert dns.message.from_wire(wire).rcode() == rcode


def test_an_answer_is_never_answered(zone: Zone) -> None:
    query = dns.message.make_query(f"{WEB}.", "A")
    assert respond(zone, dns.message.make_response(query).to_wire(), over_tcp=False) is None


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_make_it_fail(data: bytes, over_tcp: bool) -> None:
    result = respond(Zone("cluster.local", ()), data, over_tcp=over_tcp)
    if isinstance(result, bytes):
        assert result[:2] == data[:2]


@given(st.integers(0, 60), st.integers(0, 255))
def test_no_changed_byte_makes_it_fail(position: int, value: int) -> None:
    query = bytearray(dns.message.make_query(f"{WEB}.", "A", use_edns=True).to_wire())
    query[position % len(query)] = value
    respond(Zone("cluster.local", ()), bytes(query), over_tcp=False)

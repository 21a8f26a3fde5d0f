"""A query's bytes -> an answer's bytes, or what to ask somebody else first.  No I/O.

Imported with the first query only: dnspython costs a daemon that nobody asks nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from podhost.dns.records import Record
from podhost.dns.upstream import Forward
from podhost.dns.zone import Zone

TTL_S = 5
"""As short as in CoreDNS: pods come and go."""
MAX_UDP_BYTES = 1232
"""What passes without fragments (DNS flag day 2020); also what a client may ask for at most."""
MIN_UDP_BYTES = 512
MAX_TCP_BYTES = 65535
_HEADER_BYTES = 12


def respond(zone: Zone, query: bytes, *, over_tcp: bool) -> bytes | Forward | None:
    """Answer a query; ``None``: it deserves no answer (it is no query at all)."""
    if len(query) < _HEADER_BYTES or query[2] & 0x80:
        return None
    try:
        message = dns.message.from_wire(query)
    except (dns.exception.DNSException, ValueError):
        return _build_format_error(query)
    answer = dns.message.make_response(message, our_payload=MAX_UDP_BYTES, recursion_available=True)
    limit = MAX_TCP_BYTES if over_tcp else _udp_limit(message)
    if (refusal := _check(message)) is not None:
        answer.set_rcode(refusal)
        return _encode(answer, limit)
    question = message.question[0]
    name = question.name.to_text(omit_final_dot=True).lower()
    if not zone.is_ours(name):
        return Forward(query, lambda found: found or _build_failure(answer, limit))
    records = zone.find(name)
    if records is None:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    wanted = dns.rdatatype.to_text(question.rdtype)
    chosen = [record for record in records or () if record.type == wanted or wanted == "ANY"]
    aliases = [record for record in records or () if record.type == "CNAME"]
    answer.flags |= dns.flags.AA
    if aliases and wanted not in ("CNAME", "ANY"):
        return _follow_alias(answer, aliases[0], question.rdtype, limit)
    for rrset in _build_rrsets(question.name, chosen):
        answer.answer.append(rrset)
    for rrset in _build_rrsets_of_targets(zone, chosen):
        answer.additional.append(rrset)
    if name == zone.domain and wanted in ("SOA", "NS"):
        answer.answer.append(_build_soa(zone) if wanted == "SOA" else _build_ns(zone))
    elif not chosen:
        answer.authority.append(_build_soa(zone))
    return _encode(answer, limit)


def _check(message: dns.message.Message) -> dns.rcode.Rcode | None:
    if message.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if len(message.question) != 1:
        return dns.rcode.FORMERR
    question = message.question[0]
    if question.rdclass != dns.rdataclass.IN or question.rdtype in (dns.rdatatype.AXFR, dns.rdatatype.IXFR):
        return dns.rcode.REFUSED
    return None


def _udp_limit(message: dns.message.Message) -> int:
    return max(MIN_UDP_BYTES, min(message.payload, MAX_UDP_BYTES)) if message.edns >= 0 else MIN_UDP_BYTES


def _follow_alias(
    answer: dns.message.Message, alias: Record, rdtype: dns.rdatatype.RdataType, limit: int
) -> bytes | Forward:
    """An ExternalName: what the outside name stands for comes with it, as from a recursive server."""
    owner = answer.question[0].name
    answer.answer.append(dns.rrset.from_text(owner, TTL_S, "IN", "CNAME", alias.data))
    target = dns.message.make_query(alias.data, rdtype, use_edns=True, payload=MAX_UDP_BYTES)

    def finish(found: bytes | None) -> bytes:
        try:
            told = dns.message.from_wire(found, ignore_trailing=True) if found else None
        except (dns.exception.DNSException, ValueError):
            told = None
        if told is None:
            return _build_failure(answer, limit)
        answer.flags &= ~dns.flags.AA
        answer.answer.extend(told.answer)
        answer.set_rcode(told.rcode())
        return _encode(answer, limit)

    return Forward(target.to_wire(), finish)


def _build_rrsets(owner: dns.name.Name, records: Iterable[Record]) -> list[dns.rrset.RRset]:
    by_type: dict[str, list[str]] = {}
    for record in records:
        by_type.setdefault(record.type, []).append(record.data)
    for datas in by_type.values():
        # Clients take the first: each of a service's endpoints shall be it now and then.
        random.shuffle(datas)
    return [dns.rrset.from_text(owner, TTL_S, "IN", rdtype, *datas) for rdtype, datas in by_type.items()]


def _build_rrsets_of_targets(zone: Zone, records: Iterable[Record]) -> list[dns.rrset.RRset]:
    """Addresses of what SRV records name, which the client asks for next."""
    targets = dict.fromkeys(record.data.rpartition(" ")[2] for record in records if record.type == "SRV")
    return [
        rrset
        for target in targets
        for rrset in _build_rrsets(dns.name.from_text(target), zone.find(target.rstrip(".")) or ())
    ]


def _build_soa(zone: Zone) -> dns.rrset.RRset:
    text = f"ns.dns.{zone.domain}. hostmaster.{zone.domain}. {zone.serial % 2**32} 7200 1800 86400 {TTL_S}"
    return dns.rrset.from_text(f"{zone.domain}.", TTL_S, "IN", "SOA", text)


def _build_ns(zone: Zone) -> dns.rrset.RRset:
    return dns.rrset.from_text(f"{zone.domain}.", TTL_S, "IN", "NS", f"ns.dns.{zone.domain}.")


def _encode(answer: dns.message.Message, limit: int) -> bytes:
    return bytes(answer.to_wire(max_size=limit, prefer_truncation=True))


def _build_failure(answer: dns.message.Message, limit: int) -> bytes:
    answer.answer.clear()
    answer.set_rcode(dns.rcode.SERVFAIL)
    return _encode(answer, limit)


def _build_format_error(query: bytes) -> bytes:
    """Of a query that cannot be read, only its number and operation are known."""
    flags = bytes((0x80 | (query[2] & 0x79), dns.rcode.FORMERR))
    return query[:2] + flags + bytes(8)

"""What the names of a cluster stand for.  In memory, changed object by object; no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from ipaddress import IPv4Network

from podhost.dns.records import Record, build_version_record

_REVERSE = ".in-addr.arpa"


class Zone:
    """The domain of one cluster and the reverse names of its networks."""

    def __init__(self, domain: str, networks: Iterable[IPv4Network]) -> None:
        self.domain = domain
        self.serial = 1
        """Counts changes, for the SOA record."""
        self._networks = tuple(networks)
        self._by_owner: dict[Hashable, tuple[Record, ...]] = {}
        self._by_name: dict[str, dict[Record, int]] = {}
        self._existing: Counter[str] = Counter()
        """Names that are, or are above, the name of a record; with how many records."""
        self.replace("version", (build_version_record(domain),))

    def replace(self, owner: Hashable, records: Iterable[Record]) -> None:
        """``owner`` (an object) has exactly these records from now on; none takes it away."""
        wanted = tuple(records)
        old = self._by_owner.get(owner, ())
        if wanted == old:
            return
        for record in old:
            self._count(record, -1)
        for record in wanted:
            self._count(record, 1)
        if wanted:
            self._by_owner[owner] = wanted
        else:
            self._by_owner.pop(owner, None)
        self.serial += 1

    def is_ours(self, name: str) -> bool:
        """Whether nobody but us may answer for the name."""
        if name == self.domain or name.endswith(f".{self.domain}"):
            return True
        if not name.endswith(_REVERSE):
            return False
        parts = name.removesuffix(_REVERSE).split(".")
        if len(parts) != 4 or not all(part.isdigit() and int(part) < 256 for part in parts):
            return False
        address = ".".join(str(int(part)) for part in reversed(parts))
        return any(IPv4Network(address).subnet_of(network) for network in self._networks)

    def find(self, name: str) -> list[Record] | None:
        """The records of a name: empty for one that exists without any, ``None`` where there is no such name."""
        if name in self._by_name:
            return list(self._by_name[name])
        return [] if name == self.domain or self._existing[name] > 0 else None

    def _count(self, record: Record, change: int) -> None:
        at_name = self._by_name.setdefault(record.name, {})
        # Two objects may bring the same record: a pod's address stands in every headless service it is behind.
        at_name[record] = at_name.get(record, 0) + change
        if not at_name[record]:
            del at_name[record]
        if not at_name:
            del self._by_name[record.name]
        for name in _with_parents(record.name):
            self._existing[name] += change
            if not self._existing[name]:
                del self._existing[name]


def _with_parents(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.partition(".")[2]

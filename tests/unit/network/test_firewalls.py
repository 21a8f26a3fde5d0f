"""What is asked of neighbouring firewalls."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

import pytest

from podhost.linux import nft
from podhost.network import firewalls
from podhost.network.firewalls import Neighbours, PodLinks, compute_exceptions, compute_warnings

LINKS = PodLinks("ph0-", IPv4Network("10.200.0.0/17"))
OTHER = PodLinks("ph1-", IPv4Network("10.201.0.0/17"))
DOCKER = ("-P INPUT ACCEPT", "-P FORWARD DROP", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER")
UFW = ("-P INPUT DROP", "-P FORWARD DROP", "-N ufw-before-input")


@pytest.mark.parametrize(
    ("found", "chains"),
    [
        (Neighbours(), []),
        (Neighbours(("-P INPUT ACCEPT", "-P FORWARD ACCEPT")), []),
        (Neighbours(DOCKER), ["DOCKER-USER -i ph0-+ ", "DOCKER-USER -o ph0-+ "]),
        (Neighbours(UFW), ["FORWARD -i", "FORWARD -o", "INPUT -i"]),
        (Neighbours((*DOCKER, "-P INPUT DROP")), ["DOCKER-USER -i", "DOCKER-USER -o", "INPUT -i"]),
        (Neighbours(firewalld_running=True), ["--zone=trusted --add-source=10.200.0.0/17"]),
    ],
)
def test_exceptions(found: Neighbours, chains: list[str]) -> None:
    made = compute_exceptions(found, LINKS)
    texts = [" ".join(exception.add) for exception in made]
    assert len(texts) == len(chains)
    assert all(chain in text for chain, text in zip(chains, texts, strict=True))


def test_dropping_chains_of_others_are_reported() -> None:
    (warning,) = compute_warnings(Neighbours(dropping_chains=frozenset({"inet filter input input"})), LINKS)
    assert "'inet filter input input' drops by policy" in warning


class Host:
    """A pretended iptables."""

    def __init__(self, rules: Sequence[str]) -> None:
        self.rules = list(rules)

    async def run(self, argv: Sequence[str]) -> tuple[int, str]:
        verb, rest = argv[3], " ".join(argv[4:])
        line = f"-A {rest}"
        if verb == "-S":
            return 0, "\n".join(self.rules)
        if verb == "-C":
            return (0 if line in self.rules else 1), ""
        if verb == "-I":
            self.rules.append(line)
        elif verb == "-D":
            self.rules.remove(line)
        return 0, ""


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_chains() -> set[str]:
        return set()

    monkeypatch.setattr(nft, "list_dropping_chains", no_chains)
    monkeypatch.setattr("shutil.which", lambda name: "/sbin/iptables" if name == "iptables" else None)


async def test_exceptions_are_made_once_and_removed_without_a_trace() -> None:
    host = Host(DOCKER)
    for _ in range(2):
        assert await firewalls.ensure_exceptions(LINKS, run=host.run) == []
    assert len(host.rules) == len(DOCKER) + 2
    other = Host(host.rules)
    await firewalls.ensure_exceptions(OTHER, run=other.run)
    await firewalls.remove_exceptions(OTHER, run=other.run)
    assert other.rules == host.rules
    await firewalls.remove_exceptions(LINKS, run=host.run)
    assert host.rules == list(DOCKER)

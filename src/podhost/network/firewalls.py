"""Neighbouring firewalls that would cut pods off, and how each is told to let their links be.

An accept in our own table does not overrule a drop in another's chain on the same hook, so the exception has to
be made where the drop is: docker sets FORWARD to DROP and leaves ``DOCKER-USER`` for such exceptions; ufw sets
INPUT and FORWARD to DROP; firewalld asks in which zone an address is.  Policies of other nftables tables are
only reported, since no generic exception exists.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from podhost.linux import nft, spawn

Run = Callable[[Sequence[str]], Awaitable[tuple[int, str]]]
"""Runs a command; exit code and standard output."""

_IPTABLES = ("iptables", "-w", "5")


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What was found on the host."""

    iptables_rules: tuple[str, ...] = ()
    """Lines of ``iptables -S``."""
    firewalld_running: bool = False
    dropping_chains: frozenset[str] = frozenset()
    """nftables base chains with policy drop that are not iptables'."""


@dataclass(frozen=True, slots=True)
class FirewallException:
    """One exception: how to see that it is there, how to make and to remove it."""

    check: tuple[str, ...]
    add: tuple[str, ...]
    remove: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PodLinks:
    """What the exceptions are for."""

    prefix: str
    """Start of the names of all pod links."""
    pod_cidr: IPv4Network

    @property
    def mark(self) -> str:
        """Comment by which our rules are found again."""
        return f"podhost:{self.prefix}"


def compute_exceptions(found: Neighbours, links: PodLinks) -> list[FirewallException]:
    """Exceptions that the links need."""
    rules = set(found.iptables_rules)
    exceptions = []
    if "-N DOCKER-USER" in rules:
        exceptions += [_accept("DOCKER-USER", "-i", links), _accept("DOCKER-USER", "-o", links)]
    elif "-P FORWARD DROP" in rules:
        exceptions += [_accept("FORWARD", "-i", links), _accept("FORWARD", "-o", links)]
    if "-P INPUT DROP" in rules:
        exceptions.append(_accept("INPUT", "-i", links))
    if found.firewalld_running:
        exceptions.append(_firewalld_zone(links))
    return exceptions


def compute_warnings(found: Neighbours, links: PodLinks) -> list[str]:
    """What only the owner of the firewall can mend."""
    return [
        f'nftables chain {chain!r} drops by policy: pods are cut off unless it accepts interfaces "{links.prefix}*"'
        for chain in sorted(found.dropping_chains)
    ]


async def run_command(argv: Sequence[str]) -> tuple[int, str]:
    """The real :data:`Run`."""
    result = await spawn.run(list(argv), check=False, timeout_s=30)
    return result.returncode, result.stdout.decode(errors="replace")


async def observe_neighbours(run: Run = run_command) -> Neighbours:
    """Look for iptables rules, firewalld and dropping nftables chains."""
    rules: tuple[str, ...] = ()
    if shutil.which("iptables"):
        code, text = await run([*_IPTABLES, "-S"])
        rules = tuple(text.splitlines()) if code == 0 else ()
    firewalld = bool(shutil.which("firewall-cmd")) and (await run(["firewall-cmd", "--state"]))[0] == 0
    chains = await nft.list_dropping_chains()
    # iptables' own tables are seen through iptables; firewalld's are handled by its zone.
    foreign = {
        chain
        for chain in chains
        if not chain.startswith(("ip filter ", "ip6 ", "inet firewalld ")) and not chain.startswith("bridge ")
    }
    return Neighbours(rules, firewalld, frozenset(foreign))


async def ensure_exceptions(links: PodLinks, run: Run = run_command) -> list[str]:
    """Make what is missing; returns warnings.  Idempotent; to be called again when docker or ufw came later."""
    found = await observe_neighbours(run)
    warnings = compute_warnings(found, links)
    for exception in compute_exceptions(found, links):
        if (await run(exception.check))[0] == 0:
            continue
        if (await run(exception.add))[0] != 0:
            warnings.append(f"cannot make a firewall exception: {' '.join(exception.add)} failed")
    return warnings


async def remove_exceptions(links: PodLinks, run: Run = run_command) -> None:
    """Remove every exception that is there.  Idempotent."""
    found = await observe_neighbours(run)
    for rule in found.iptables_rules:
        words = [word.strip('"') for word in rule.split()]
        if words[0] == "-A" and links.mark in words:
            await run([*_IPTABLES, "-D", *words[1:]])
    if found.firewalld_running:
        zone = _firewalld_zone(links)
        if (await run(zone.check))[0] == 0:
            await run(zone.remove)


def _accept(chain: str, direction: str, links: PodLinks) -> FirewallException:
    rule = (chain, direction, f"{links.prefix}+", "-m", "comment", "--comment", links.mark, "-j", "ACCEPT")
    return FirewallException((*_IPTABLES, "-C", *rule), (*_IPTABLES, "-I", *rule), (*_IPTABLES, "-D", *rule))


def _firewalld_zone(links: PodLinks) -> FirewallException:
    def command(verb: str) -> tuple[str, ...]:
        return ("firewall-cmd", "--zone=trusted", f"--{verb}-source={links.pod_cidr}")

    return FirewallException(command("query"), command("add"), command("remove"))

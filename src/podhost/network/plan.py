"""Which bridge, address ranges and node ports an instance takes: a pure choice over what the host shows.

Once chosen, a plan is kept in the instance's data directory; services and pods then keep their addresses.
Plans of instances that do not run at the moment count as taken too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from podhost.errors import ExhaustedError, InvalidError
from podhost.linux import fs
from podhost.linux.netlink import RouteSocket
from podhost.network.bridge_link import delete_bridge, ensure_bridge, is_foreign, mark_owner

_log = logging.getLogger(__name__)

PLAN_FILE = "network.json"
_CLAIM_MTU = 1500
"""Until the network starts, which knows better."""
_CANDIDATES = 100
_USUAL_NODE_PORTS = (30000, 32767)
# The others are for hosts behind a VPN that takes all of 10.0.0.0/8.
_RANGES = tuple(
    IPv4Network(f"{first}.{second}.0.0/16")
    for first, seconds in ((10, range(200, 250)), (172, range(22, 32)), (100, range(90, 128)))
    for second in seconds
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """The networks of one instance."""

    bridge: str
    pod_cidr: IPv4Network
    service_cidr: IPv4Network
    node_ports: tuple[int, int]
    """First and last node port."""
    table: str

    @property
    def gateway(self) -> IPv4Address:
        return self.pod_cidr[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWishes:
    """What the user fixed by flags; None is chosen."""

    bridge: str | None = None
    pod_cidr: IPv4Network | None = None
    service_cidr: IPv4Network | None = None
    node_ports: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class HostNetworks:
    """What the host uses already."""

    links: frozenset[str]
    networks: frozenset[IPv4Network]
    """Destinations of routes and networks of addresses, the default route aside."""


def observe_host() -> HostNetworks:
    """Links, addresses and routes of the host.  Blocking, about a millisecond."""
    with RouteSocket() as route:
        links = frozenset(link.name for link in route.links())
        networks = {address.network for address in route.addresses()}
        networks |= {entry.destination for entry in route.routes() if entry.destination.prefixlen}
    return HostNetworks(links, frozenset(networks))


def build_candidate(instance: str, index: int) -> NetworkPlan:
    """The ``index``-th plan on a host that uses nothing of it."""
    return choose_plan(instance, HostNetworks(frozenset(), frozenset()), [], skip=index)


def choose_plan(
    instance: str,
    host: HostNetworks,
    reserved: Iterable[NetworkPlan],
    wishes: PlanWishes | None = None,
    *,
    skip: int = 0,
) -> NetworkPlan:
    """Bridge, ranges and node ports: of each the first that nobody has.

    Raises:
        InvalidError: What the user fixed clashes, is too small or overlaps itself.
        ExhaustedError: All candidates clash.
    """
    wishes = wishes or PlanWishes()
    others = list(reserved)
    _check_wishes(wishes, host, others)
    pods, services = _choose_ranges(wishes, host, others, skip)
    bridges = (f"ph{index}" for index in range(skip, _CANDIDATES))
    taken = host.links | {other.bridge for other in others}
    free_bridge = next((name for name in bridges if name not in taken), "")
    if not (wishes.bridge or free_bridge):
        raise ExhaustedError(f"cannot choose a bridge: ph0 to ph{_CANDIDATES - 1} are in use on this host")
    return NetworkPlan(
        bridge=wishes.bridge or free_bridge,
        pod_cidr=pods,
        service_cidr=services,
        node_ports=wishes.node_ports or _choose_node_ports(others, skip),
        table=f"podhost_{instance}",
    )


def _choose_ranges(
    wishes: PlanWishes, host: HostNetworks, others: list[NetworkPlan], skip: int
) -> tuple[IPv4Network, IPv4Network]:
    for index in range(skip, len(_RANGES)):
        lower, upper = _RANGES[index].subnets()
        pods, services = wishes.pod_cidr or lower, wishes.service_cidr or upper
        if not pods.overlaps(services) and not any(_overlapping(cidr, host, others) for cidr in (pods, services)):
            return pods, services
    raise ExhaustedError(
        "cannot choose networks: all private ranges that podhost tries are in use on this host;"
        " name free ones with --pod-cidr and --service-cidr"
    )


def _choose_node_ports(others: list[NetworkPlan], skip: int) -> tuple[int, int]:
    """Kubernetes' usual range first, then the thousands below it, which leave the ephemeral ports alone."""
    ranges = [_USUAL_NODE_PORTS, *((first, first + 999) for first in range(20000, 30000, 1000))]
    free = (r for r in ranges[skip:] if not any(_ports_overlap(r, other.node_ports) for other in others))
    if (found := next(free, None)) is None:
        raise ExhaustedError("cannot choose node ports: 20000 to 32767 belong to other instances; use --node-ports")
    return found


def ensure_plan(
    data_root: Path,
    instance: str,
    wishes: PlanWishes | None = None,
    *,
    claim: Callable[[NetworkPlan], None] | None = None,
) -> NetworkPlan:
    """The instance's plan: the one kept in ``data_root/instance``, or a new one, kept from now on.  Blocking.

    ``claim`` is called before another instance can choose, see :func:`claim_bridge`.

    Raises:
        InvalidError, ExhaustedError: As :func:`choose_plan`; also when a kept plan contradicts the wishes.
    """
    data_dir = data_root / instance
    data_dir.mkdir(parents=True, exist_ok=True)
    with _locked_machine():
        kept = _read(data_dir / PLAN_FILE)
        plan = _choose_or_keep(data_root, instance, kept, wishes or PlanWishes())
        if plan != kept:
            fs.write_atomic(data_dir / PLAN_FILE, json.dumps(_to_json(plan), indent=1).encode(), mode=0o644, fsync=True)
        if claim is not None:
            claim(plan)
        return plan


@contextlib.contextmanager
def _locked_machine() -> Iterator[None]:
    """Two instances that start at the same moment must not choose the same, whatever their data directories."""
    fd = os.open("/sys/class/net", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _choose_or_keep(data_root: Path, instance: str, kept: NetworkPlan | None, wishes: PlanWishes) -> NetworkPlan:
    stolen = kept is not None and is_foreign(kept.bridge, data_root / instance)
    if kept is not None and not stolen and _with_wishes(kept, wishes) == kept:
        return kept
    own = data_root / instance / PLAN_FILE
    reserved = [plan for other in data_root.glob(f"*/{PLAN_FILE}") if other != own and (plan := _read(other))]
    host = observe_host()
    if kept is not None and not stolen:
        host = _without(host, kept)
        wishes = _with_kept(wishes, kept)
    elif kept is not None:
        _log.warning("the bridge %s belongs to an instance with other data by now: choosing new networks", kept.bridge)
    return choose_plan(instance, host, reserved, wishes)


def claim_bridge(plan: NetworkPlan, data_dir: Path) -> None:
    """Make the plan's bridge, which shows other instances that its name and ranges are taken.  Blocking.

    Raises:
        OSError: The kernel refused.
    """
    is_new = plan.bridge not in os.listdir("/sys/class/net")
    try:
        ensure_bridge(plan.bridge, plan.pod_cidr, plan.service_cidr, _CLAIM_MTU)
        mark_owner(plan.bridge, data_dir)
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                delete_bridge(plan.bridge)
        raise


def _with_wishes(plan: NetworkPlan, wishes: PlanWishes) -> NetworkPlan:
    return NetworkPlan(
        bridge=wishes.bridge or plan.bridge,
        pod_cidr=wishes.pod_cidr or plan.pod_cidr,
        service_cidr=wishes.service_cidr or plan.service_cidr,
        node_ports=wishes.node_ports or plan.node_ports,
        table=plan.table,
    )


def _with_kept(wishes: PlanWishes, kept: NetworkPlan) -> PlanWishes:
    """What the user does not wish otherwise stays as it was: objects in the store have addresses of it."""
    return PlanWishes(
        bridge=wishes.bridge or kept.bridge,
        pod_cidr=wishes.pod_cidr or kept.pod_cidr,
        service_cidr=wishes.service_cidr or kept.service_cidr,
        node_ports=wishes.node_ports or kept.node_ports,
    )


def _check_wishes(wishes: PlanWishes, host: HostNetworks, others: list[NetworkPlan]) -> None:
    if wishes.bridge is not None and (wishes.bridge in host.links or any(p.bridge == wishes.bridge for p in others)):
        raise InvalidError(f"cannot use bridge {wishes.bridge!r}: a link or an instance has that name already")
    for flag, cidr in (("--pod-cidr", wishes.pod_cidr), ("--service-cidr", wishes.service_cidr)):
        if cidr is None:
            continue
        if not 12 <= cidr.prefixlen <= 28:
            raise InvalidError(f"cannot use {flag} {cidr}: want a range from /12 to /28")
        if clash := _overlapping(cidr, host, others):
            raise InvalidError(f"cannot use {flag} {cidr}: it overlaps {clash}, which is in use on this host")
    if wishes.pod_cidr and wishes.service_cidr and wishes.pod_cidr.overlaps(wishes.service_cidr):
        raise InvalidError(f"cannot use {wishes.pod_cidr} for pods, {wishes.service_cidr} for services: they overlap")
    if wishes.node_ports and not 1 <= wishes.node_ports[0] <= wishes.node_ports[1] <= 65535:
        raise InvalidError(f"cannot use node ports {wishes.node_ports[0]}-{wishes.node_ports[1]}: not a range of ports")


def _overlapping(cidr: IPv4Network, host: HostNetworks, others: list[NetworkPlan]) -> IPv4Network | None:
    taken = [*host.networks, *(plan.pod_cidr for plan in others), *(plan.service_cidr for plan in others)]
    return next((network for network in taken if network.overlaps(cidr)), None)


def _ports_overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _without(host: HostNetworks, own: NetworkPlan) -> HostNetworks:
    return HostNetworks(host.links - {own.bridge}, host.networks - {own.pod_cidr, own.service_cidr})


def _to_json(plan: NetworkPlan) -> dict[str, object]:
    return {
        "bridge": plan.bridge,
        "podCIDR": str(plan.pod_cidr),
        "serviceCIDR": str(plan.service_cidr),
        "nodePorts": list(plan.node_ports),
        "table": plan.table,
    }


def _read(path: Path) -> NetworkPlan | None:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        first, last = raw["nodePorts"]
        return NetworkPlan(
            bridge=str(raw["bridge"]),
            pod_cidr=IPv4Network(raw["podCIDR"]),
            service_cidr=IPv4Network(raw["serviceCIDR"]),
            node_ports=(int(first), int(last)),
            table=str(raw["table"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        # A broken record never stops the start: the instance gets a new plan.
        return None

"""Which networks an instance takes."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from podhost.errors import ExhaustedError, InvalidError
from podhost.network import plan as plans
from podhost.network.plan import HostNetworks, PlanWishes, build_candidate, choose_plan, ensure_plan

USUAL = (30000, 32767)
EMPTY = HostNetworks(frozenset(), frozenset())


def host(*networks: str, links: tuple[str, ...] = ()) -> HostNetworks:
    return HostNetworks(frozenset(links), frozenset(IPv4Network(network) for network in networks))


def test_first_instance_gets_the_usual_values() -> None:
    plan = choose_plan("default", EMPTY, [])
    assert (plan.bridge, str(plan.pod_cidr), str(plan.service_cidr)) == ("ph0", "10.200.0.0/17", "10.200.128.0/17")
    assert (plan.node_ports, plan.table, str(plan.gateway)) == ((30000, 32767), "podhost_default", "10.200.0.1")


@pytest.mark.parametrize(
    ("observed", "reserved", "bridge", "pods", "node_ports"),
    [
        (EMPTY, 1, "ph1", "10.201.0.0/17", (20000, 20999)),
        (EMPTY, 2, "ph2", "10.202.0.0/17", (21000, 21999)),
        (host("10.200.5.0/24"), 0, "ph0", "10.201.0.0/17", USUAL),
        (host("10.200.130.0/24"), 0, "ph0", "10.201.0.0/17", USUAL),
        (host("10.0.0.0/8"), 0, "ph0", "172.22.0.0/17", USUAL),
        (host("10.0.0.0/8", "172.16.0.0/12"), 0, "ph0", "100.90.0.0/17", USUAL),
        (host("192.168.0.0/16"), 0, "ph0", "10.200.0.0/17", USUAL),
        (host(links=("ph0",)), 0, "ph1", "10.200.0.0/17", USUAL),
    ],
)
def test_candidates_that_clash_are_skipped(
    observed: HostNetworks, reserved: int, bridge: str, pods: str, node_ports: tuple[int, int]
) -> None:
    others = [build_candidate(f"other{number}", number) for number in range(reserved)]
    plan = choose_plan("x", observed, others)
    assert (plan.bridge, str(plan.pod_cidr), plan.node_ports) == (bridge, pods, node_ports)


def test_host_that_uses_every_range_is_told_so() -> None:
    with pytest.raises(ExhaustedError, match="--pod-cidr"):
        choose_plan("x", host("10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10"), [])
    with pytest.raises(ExhaustedError, match="--node-ports"):
        choose_plan("x", EMPTY, [build_candidate(f"other{number}", number) for number in range(11)])


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (PlanWishes(pod_cidr=IPv4Network("172.17.0.0/16")), r"cannot use --pod-cidr 172\.17\.0\.0/16: it overlaps"),
        (PlanWishes(service_cidr=IPv4Network("10.9.0.0/30")), r"want a range from /12 to /28"),
        (PlanWishes(bridge="docker0"), r"cannot use bridge 'docker0'"),
        (PlanWishes(node_ports=(9, 2)), r"cannot use node ports 9-2"),
        (PlanWishes(pod_cidr=IPv4Network("10.9.0.0/16"), service_cidr=IPv4Network("10.9.1.0/24")), r"they overlap"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(wishes: PlanWishes, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        choose_plan("x", host("172.17.0.0/16", links=("docker0",)), [], wishes)


def test_wishes_are_taken_over() -> None:
    wishes = PlanWishes(bridge="mine", pod_cidr=IPv4Network("10.9.0.0/16"), node_ports=(30000, 30009))
    plan = choose_plan("x", EMPTY, [build_candidate("other", 0)], wishes)
    assert (plan.bridge, str(plan.pod_cidr), plan.node_ports) == ("mine", "10.9.0.0/16", (30000, 30009))


@pytest.fixture
def own_bridges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever bridges this machine has: those of the plans are the instance's own."""
    monkeypatch.setattr(plans, "is_foreign", lambda bridge, data_dir: False)


def test_plan_is_kept_and_plans_of_stopped_instances_count_as_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_bridges: None
) -> None:
    monkeypatch.setattr(plans, "observe_host", lambda: EMPTY)
    first = ensure_plan(tmp_path, "default")
    second = ensure_plan(tmp_path, "second")
    assert (first.bridge, second.bridge) == ("ph0", "ph1")
    monkeypatch.setattr(plans, "observe_host", lambda: host("10.200.0.0/17", "10.201.0.0/17", links=("ph0", "ph1")))
    assert (ensure_plan(tmp_path, "default"), ensure_plan(tmp_path, "second")) == (first, second)
    (tmp_path / "default" / plans.PLAN_FILE).write_text("{broken")
    assert ensure_plan(tmp_path, "default").bridge == "ph2"


def test_kept_plan_changes_when_the_user_wishes_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_bridges: None
) -> None:
    monkeypatch.setattr(plans, "observe_host", lambda: EMPTY)
    ensure_plan(tmp_path, "default")
    monkeypatch.setattr(plans, "observe_host", lambda: host("10.200.0.0/17", links=("ph0",)))
    changed = ensure_plan(tmp_path, "default", PlanWishes(node_ports=(31000, 31010)))
    assert (changed.bridge, changed.node_ports) == ("ph0", (31000, 31010))

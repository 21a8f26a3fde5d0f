"""Which pod has the port of the host."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.cli.port_holders import find_port_holders


def make_pod(name: str, *ports: dict[str, Any], node: str = "n", phase: str = "Running") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": list(ports)}]},
        "status": {"phase": phase},
    }


WANTED = make_pod("late", {"containerPort": 80, "hostPort": 8080}, node="")
HELD = {"containerPort": 1, "hostPort": 8080, "protocol": "TCP"}


@pytest.mark.parametrize(
    ("other", "held"),
    [
        (make_pod("web", HELD), ["8080/TCP is held by pod/web -n shop"]),
        (make_pod("web", HELD, HELD | {"hostIP": "127.0.0.1"}), ["8080/TCP is held by pod/web -n shop"]),
        (make_pod("web", HELD | {"protocol": "UDP"}), []),
        (make_pod("web", HELD | {"hostPort": 8081}), []),
        (make_pod("web", {"containerPort": 8080}), []),
        (make_pod("web", HELD, node=""), []),
        (make_pod("web", HELD, phase="Succeeded"), []),
        (make_pod("late", HELD), []),
    ],
)
def test_holder_is_a_placed_pod_with_the_same_port_and_protocol(other: dict[str, Any], held: list[str]) -> None:
    assert find_port_holders(WANTED, [other]) == held


def test_ports_of_two_addresses_do_not_clash_and_sidecars_hold_theirs() -> None:
    wanted = make_pod("late", HELD | {"hostIP": "127.0.0.1"}, node="")
    assert find_port_holders(wanted, [make_pod("web", HELD | {"hostIP": "127.0.0.2"})]) == []
    sidecar = make_pod("web")
    sidecar["spec"]["initContainers"] = [
        {"name": "s", "restartPolicy": "Always", "ports": [HELD]},
        {"name": "i", "ports": [HELD | {"hostIP": "127.0.0.1"}]},
    ]
    assert find_port_holders(WANTED, [sidecar]) == ["8080/TCP is held by pod/web -n shop"]

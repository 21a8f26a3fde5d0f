"""Which pods answer for a service."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.controllers.endpoints import build_endpoints, build_slice, compute_slices, pod_facts, selects


def pod(name: str = "web", ip: str = "10.200.0.2", *, ready: bool = True, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": {"app": "web"}},
        "spec": {
            "nodeName": "node",
            "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}]}],
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }
    for path, value in changes.items():
        part, _, field = path.partition("_")
        made[part][field] = value
    return made


def service(*ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "uid-svc", "labels": {"team": "x"}},
        "spec": {
            "selector": {"app": "web"},
            "clusterIP": "10.200.128.5",
            "ports": list(ports) or [{"port": 80, "protocol": "TCP", "targetPort": 8080}],
            **spec,
        },
    }


@pytest.mark.parametrize(
    ("changes", "service_changes", "expected"),
    [
        ({}, {}, {"ready": True, "serving": True, "terminating": False}),
        ({"ready": False}, {}, {"ready": False, "serving": False, "terminating": False}),
        ({"metadata_deletionTimestamp": "t"}, {}, {"ready": False, "serving": True, "terminating": True}),
        (
            {"ready": False},
            {"publishNotReadyAddresses": True},
            {"ready": True, "serving": False, "terminating": False},
        ),
        (
            {"metadata_deletionTimestamp": "t"},
            {"publishNotReadyAddresses": True},
            {"ready": True, "serving": True, "terminating": True},
        ),
        ({"status_podIP": ""}, {}, None),
        ({"status_phase": "Succeeded"}, {}, None),
        ({"status_phase": "Failed"}, {}, None),
    ],
)
def test_conditions_of_an_endpoint(
    changes: dict[str, Any], service_changes: dict[str, Any], expected: dict[str, bool] | None
) -> None:
    (content,) = compute_slices(service(**service_changes), [pod(**changes)])
    assert [endpoint["conditions"] for endpoint in content.endpoints] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("target", "protocol", "expected"),
    [
        (8080, "TCP", [("", "TCP", 8080, "")]),
        ("web", "TCP", [("", "TCP", 8080, "")]),
        ("web", "UDP", []),
        ("absent", "TCP", []),
    ],
)
def test_target_port_is_resolved_in_the_pod(target: int | str, protocol: str, expected: list[Any]) -> None:
    port = {"port": 80, "protocol": protocol, "targetPort": target}
    (content,) = compute_slices(service(port), [pod()])
    assert list(content.ports) == expected


def test_named_port_of_a_sidecar_counts_and_of_an_init_container_does_not() -> None:
    web = pod()
    ports = [{"name": "side", "containerPort": 9000, "protocol": "TCP"}]
    web["spec"]["initContainers"] = [{"name": "i", "ports": ports}]
    port = {"port": 80, "protocol": "TCP", "targetPort": "side"}
    assert compute_slices(service(port), [web])[0].ports == ()
    web["spec"]["initContainers"][0]["restartPolicy"] = "Always"
    assert compute_slices(service(port), [web])[0].ports == (("", "TCP", 9000, ""),)


def test_pods_that_resolve_a_name_differently_are_in_different_slices() -> None:
    other = pod("other", "10.200.0.3")
    other["spec"]["containers"][0]["ports"][0]["containerPort"] = 9090
    slices = compute_slices(service({"port": 80, "targetPort": "web"}), [other, pod()])
    assert [content.ports[0][2] for content in slices] == [8080, 9090]


def test_a_slice_holds_a_hundred_endpoints_at_most() -> None:
    pods = [pod(f"p{number}", f"10.200.{number // 250}.{number % 250 + 1}") for number in range(205)]
    assert [len(content.endpoints) for content in compute_slices(service(), pods)] == [100, 100, 5]


def test_slice_object_is_as_kubernetes_makes_it() -> None:
    headless = service(clusterIP="None")
    web = pod(spec_hostname="web-0", spec_subdomain="web")
    made = build_slice(headless, compute_slices(headless, [web])[0], "web-abcde")
    assert made["metadata"]["labels"] == {
        "team": "x",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "service.kubernetes.io/headless": "",
    }
    assert made["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "name": "web",
            "uid": "uid-svc",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert made["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert made["endpoints"] == [
        {
            "addresses": ["10.200.0.2"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "hostname": "web-0",
            "nodeName": "node",
            "targetRef": {"kind": "Pod", "name": "web", "namespace": "default", "uid": "uid-web"},
        }
    ]


def test_endpoints_object_sorts_ready_and_not_ready_addresses() -> None:
    made = build_endpoints(service(), [pod("b", "10.200.0.10"), pod(), pod("c", "10.200.0.3", ready=False)])
    (subset,) = made["subsets"]
    assert [address["ip"] for address in subset["addresses"]] == ["10.200.0.2", "10.200.0.10"]
    assert [address["ip"] for address in subset["notReadyAddresses"]] == ["10.200.0.3"]
    assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]


def test_endpoints_object_of_a_service_without_pods_has_no_subsets() -> None:
    assert "subsets" not in build_endpoints(service(), [])
    assert "subsets" not in build_endpoints(service(), [pod(metadata_deletionTimestamp="t")])


def test_facts_of_a_pod_ignore_what_endpoints_do_not_depend_on() -> None:
    assert pod_facts(pod()) == pod_facts(pod(status_message="x"))
    assert pod_facts(pod()) != pod_facts(pod(ready=False))


def test_selector_wants_all_its_labels() -> None:
    assert selects({"a": "1"}, {"a": "1", "b": "2"})
    assert not selects({"a": "1", "b": "3"}, {"a": "1", "b": "2"})
    assert not selects({"a": "1"}, None)

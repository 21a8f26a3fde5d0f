"""The registry of kinds, defaults and strategies."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from podhost.api import kinds, qos, strategies
from podhost.api.kind import Kind
from podhost.api.schema import definition

SOURCE = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}
MakePod = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: str(kind.kind))
def test_every_kind_agrees_with_its_definition(kind: Kind) -> None:
    assert definition(kind.schema).gvk == (kind.group, kind.version, kind.kind)
    assert kinds.kind_by_resource(kind.group, kind.version, kind.plural) is kind
    assert kinds.kind_of({"apiVersion": kind.group_version, "kind": kind.kind}) is kind
    assert kinds.kind_by_resource_key(kind.resource_key) is kind
    assert {"metadata.name", "metadata.namespace"} <= set(kind.selectable_fields({}))


def test_names_in_the_store_carry_the_group() -> None:
    assert kinds.POD.resource_key == "pods"
    assert kinds.ENDPOINT_SLICE.resource_key == "endpointslices.discovery.k8s.io"


def test_a_pod_gets_kubernetes_defaults(make_pod: MakePod) -> None:
    pod = make_pod()
    kinds.POD.default(pod)
    spec = pod["spec"]
    assert {key: spec[key] for key in ("restartPolicy", "dnsPolicy", "schedulerName", "securityContext")} == {
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": {},
    }
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["enableServiceLinks"] is True
    assert [container["imagePullPolicy"] for container in spec["containers"]] == ["Always", "IfNotPresent"]
    assert spec["containers"][0]["terminationMessagePath"] == "/dev/termination-log"
    once = copy.deepcopy(pod)
    kinds.POD.default(pod)
    assert pod == once


def test_limits_are_requested_and_host_network_takes_host_ports(make_pod: MakePod) -> None:
    pod = make_pod(hostNetwork=True)
    pod["spec"]["containers"][0] |= {"resources": {"limits": {"cpu": "1"}}, "ports": [{"containerPort": 80}]}
    kinds.POD.default(pod)
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1"}
    assert pod["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]


def test_a_service_gets_its_target_port() -> None:
    service: dict[str, Any] = {"spec": {"ports": [{"port": 80}]}}
    kinds.SERVICE.default(service)
    assert service["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert service["spec"]["type"] == "ClusterIP"


def test_the_status_of_a_new_pod_is_not_the_clients(make_pod: MakePod) -> None:
    pod = make_pod() | {"status": {"phase": "Running"}}
    kinds.POD.prepare_create(pod)
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


def test_spec_and_status_are_written_apart(make_pod: MakePod) -> None:
    old = make_pod() | {"status": {"phase": "Running"}}
    old["metadata"]["generation"] = 1
    new = make_pod(hostname="x") | {"status": {"phase": "Failed"}}
    kinds.POD.prepare_update(new, old)
    assert new["status"] == {"phase": "Running"}
    assert new["metadata"]["generation"] == 2
    new = make_pod(hostname="x") | {"status": {"phase": "Failed"}}
    kinds.POD.prepare_status_update(new, old)
    assert "hostname" not in new["spec"]
    assert new["status"] == {"phase": "Failed"}
    assert new["metadata"]["generation"] == 1


def test_string_data_becomes_data() -> None:
    secret: dict[str, Any] = {"stringData": {"a": "b"}, "data": {"c": "ZA=="}}
    strategies.merge_string_data(secret)
    assert secret == {"data": {"a": "Yg==", "c": "ZA=="}}


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"requests": {"cpu": "0"}}], "BestEffort"),
    ],
)
def test_quality_of_service(resources: list[dict[str, Any]], wanted: str) -> None:
    assert qos.compute_qos_class({"containers": [{"resources": each} for each in resources]}) == wanted


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ({"dataSource": SOURCE}, {"dataSource": SOURCE, "dataSourceRef": SOURCE}),
        ({"dataSourceRef": SOURCE}, {"dataSource": SOURCE, "dataSourceRef": SOURCE}),
        ({"dataSourceRef": {**SOURCE, "namespace": "n"}}, {"dataSourceRef": {**SOURCE, "namespace": "n"}}),
        ({}, {}),
    ],
)
def test_what_a_claim_begins_with_stands_in_both_fields(written: dict[str, Any], stored: dict[str, Any]) -> None:
    kind = kinds.kind_by_resource("", "v1", "persistentvolumeclaims")
    assert kind is not None
    claim = {"spec": copy.deepcopy(written)}
    kind.prepare_create(claim)
    assert claim["spec"] == stored
    # An old client writes only what it knows.
    update = {"spec": copy.deepcopy(written)}
    kind.prepare_update(update, claim)
    assert update == claim


def test_sources_of_a_claim_must_agree() -> None:
    kind = kinds.kind_by_resource("", "v1", "persistentvolumeclaims")
    assert kind is not None

    def find_faults(**sources: Any) -> set[str]:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, **sources}
        return {error.message for error in kind.validate_create({"metadata": {"name": "c"}, "spec": spec})}

    assert find_faults(dataSource=SOURCE, dataSourceRef=SOURCE) == set()
    assert find_faults(dataSource=SOURCE, dataSourceRef={**SOURCE, "name": "other"}) == {
        "spec: Invalid value: {}: must match dataSourceRef"
    }
    assert find_faults(dataSource=SOURCE, dataSourceRef={**SOURCE, "namespace": "n"}) == {
        "spec: Invalid value: {}: may not be specified when dataSourceRef.namespace is specified"
    }
    assert find_faults(dataSource={"kind": "Pod", "name": "p"}) == {
        "spec.dataSource: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when referencing the default apiGroup"
    }
    assert find_faults(dataSourceRef={"apiGroup": "a.io"}) == {
        "spec.dataSourceRef.name: Required value", "spec.dataSourceRef.kind: Required value"
    }  # fmt: skip

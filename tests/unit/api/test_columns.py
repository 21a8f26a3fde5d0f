"""Tables look as kubectl shows them on a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podhost.api import columns, kinds
from podhost.api.access_kinds import ROLE_BINDING
from podhost.api.events import EVENT
from podhost.api.kind import Kind
from podhost.api.priority_classes import PRIORITY_CLASS
from podhost.api.storage_kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS

Document = dict[str, Any]
NOW = datetime(2026, 11, 23, 16, 0, 0, tzinfo=UTC)


def _status(name: str = "a", *, ready: bool = False, restarts: int = 0, last: str = "", **state: Any) -> Document:
    status: Document = {"name": name, "ready": ready, "restartCount": restarts, "state": state}
    if last:
        status["lastState"] = {"terminated": {"exitCode": 1, "finishedAt": last}}
    return status


def _pod(phase: str, *statuses: Document, init: tuple[Document, ...] = (), **extra: Any) -> Document:
    names = [status["name"] for status in statuses] or ["a"]
    pod: Document = {
        "metadata": {"name": "p", "creationTimestamp": "2026-11-23T15:55:30Z"},
        "spec": {"containers": [{"name": name} for name in names], **extra.pop("spec", {})},
        "status": {"phase": phase, "containerStatuses": list(statuses), "initContainerStatuses": list(init)},
    }
    pod["status"] |= extra.pop("status", {})
    pod["metadata"] |= extra
    return pod


_INIT_SPEC = {"spec": {"initContainers": [{"name": "i"}, {"name": "j"}]}}
_RUNNING: Any = {"running": {}}


@pytest.mark.parametrize(
    ("pod", "cells"),
    [
        (_pod("Pending"), ["0/1", "Pending", "0"]),
        (_pod("Running", _status(ready=True, **_RUNNING)), ["1/1", "Running", "0"]),
        (_pod("Pending", _status(waiting={"reason": "ContainerCreating"})), ["0/1", "ContainerCreating", "0"]),
        (
            _pod("Running", _status(ready=True, **_RUNNING), _status("b", waiting={"reason": "ErrImagePull"})),
            [
                "1/2",
                "ErrImagePull",
                "0",
            ],
        ),
        (
            _pod("Running", _status(restarts=2, last="2026-11-23T15:59:48Z", waiting={"reason": "CrashLoopBackOff"})),
            ["0/1", "CrashLoopBackOff", "2 (12s ago)"],
        ),
        (_pod("Succeeded", _status(terminated={"exitCode": 0, "reason": "Completed"})), ["0/1", "Completed", "0"]),
        (_pod("Failed", _status(terminated={"exitCode": 3, "reason": "Error"})), ["0/1", "Error", "0"]),
        (_pod("Failed", _status(terminated={"exitCode": 3})), ["0/1", "ExitCode:3", "0"]),
        (_pod("Failed", _status(terminated={"exitCode": 137, "signal": 9})), ["0/1", "Signal:9", "0"]),
        (_pod("Failed", status={"reason": "DeadlineExceeded"}), ["0/1", "DeadlineExceeded", "0"]),
        (
            _pod(
                "Running",
                _status(terminated={"exitCode": 0, "reason": "Completed"}),
                _status("b", ready=True, **_RUNNING),
            ),
            ["1/2", "NotReady", "0"],
        ),
        (
            _pod(
                "Running",
                _status(terminated={"exitCode": 0, "reason": "Completed"}),
                _status("b", ready=True, **_RUNNING),
                status={"conditions": [{"type": "Ready", "status": "True"}]},
            ),
            ["1/2", "Running", "0"],
        ),
        (_pod("Running", _status(ready=True, **_RUNNING), deletionTimestamp="x"), ["1/1", "Terminating", "0"]),
        (_pod("Pending", init=(_status("i", **_RUNNING),), **_INIT_SPEC), ["0/1", "Init:0/2", "0"]),
        (
            _pod(
                "Pending",
                init=(_status("i", terminated={"exitCode": 0}), _status("j", waiting={"reason": "PodInitializing"})),
                **_INIT_SPEC,
            ),
            ["0/1", "Init:1/2", "0"],
        ),
        (
            _pod(
                "Pending", init=(_status("i", restarts=1, terminated={"exitCode": 1, "reason": "Error"}),), **_INIT_SPEC
            ),
            ["0/1", "Init:Error", "1"],
        ),
        (
            _pod("Pending", init=(_status("i", waiting={"reason": "CrashLoopBackOff"}),), **_INIT_SPEC),
            ["0/1", "Init:CrashLoopBackOff", "0"],
        ),
        (
            _pod(
                "Pending",
                _status(waiting={"reason": "PodInitializing"}),
                init=(_status("i", terminated={"exitCode": 0}), _status("j", terminated={"exitCode": 0})),
                **_INIT_SPEC,
            ),
            ["0/1", "PodInitializing", "0"],
        ),
        (
            _pod(
                "Running",
                _status(ready=True, **_RUNNING),
                init=(_status("i", ready=True, restarts=1, **_RUNNING) | {"started": True},),
                spec={"initContainers": [{"name": "i", "restartPolicy": "Always"}]},
            ),
            ["2/2", "Running", "1"],
        ),
        (
            _pod("Pending", status={"conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
            ["0/1", "SchedulingGated", "0"],
        ),
    ],
)
def test_pods(pod: Document, cells: list[str]) -> None:
    row = columns.pod_row(pod, NOW)
    assert row[1:4] == cells
    assert row[4] == "4m30s"


def test_wide_columns_of_a_pod() -> None:
    pod = _pod("Running", status={"podIPs": [{"ip": "10.0.0.2"}]}, spec={"nodeName": "n"})
    assert columns.pod_row(pod, NOW)[5:] == ["10.0.0.2", "n", "<none>", "<none>"]


@pytest.mark.parametrize(
    ("spec", "cells"),
    [
        (
            {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "protocol": "TCP"}]},
            ["ClusterIP", "10.0.0.1", "<none>", "80/TCP"],
        ),
        (
            {
                "type": "NodePort",
                "clusterIP": "10.0.0.1",
                "ports": [
                    {"port": 80, "protocol": "TCP", "nodePort": 30080},
                    {"port": 53, "protocol": "UDP", "nodePort": 30053},
                ],
            },
            ["NodePort", "10.0.0.1", "<none>", "80:30080/TCP,53:30053/UDP"],
        ),
        ({"type": "ClusterIP", "clusterIP": "None"}, ["ClusterIP", "None", "<none>", "<none>"]),
        ({"type": "ExternalName", "externalName": "a.b"}, ["ExternalName", "<none>", "a.b", "<none>"]),
        ({"type": "LoadBalancer", "clusterIP": "1.2.3.4"}, ["LoadBalancer", "1.2.3.4", "<pending>", "<none>"]),
    ],
)
def test_services(spec: Document, cells: list[str]) -> None:
    assert columns.service_row({"metadata": {"name": "s"}, "spec": spec}, NOW)[1:5] == cells


def test_endpoints_show_three_and_count_the_rest() -> None:
    subset = {"addresses": [{"ip": f"10.0.0.{n}"} for n in range(1, 6)], "ports": [{"port": 80}]}
    row = columns.endpoints_row({"metadata": {"name": "e"}, "subsets": [subset]}, NOW)
    assert row[1] == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    assert columns.endpoints_row({"metadata": {"name": "e"}}, NOW)[1:] == ["<none>", "<unknown>"]


def test_events_name_their_object_and_source() -> None:
    event = {
        "metadata": {"name": "p.1"},
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
        "type": "Normal",
        "reason": "Started",
        "message": "Started container a\n",
        "source": {"component": "kubelet", "host": "n"},
        "firstTimestamp": "2026-11-23T15:00:00Z",
        "lastTimestamp": "2026-11-23T15:59:00Z",
        "count": 3,
    }
    assert columns.event_row(event, NOW) == [
        "60s",
        "Normal",
        "Started",
        "pod/p",
        "spec.containers{a}",
        "kubelet, n",
        "Started container a",
        "60m",
        3,
        "p.1",
    ]


def test_nodes_show_readiness_and_roles() -> None:
    node = {
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
            "nodeInfo": {"kubeletVersion": "v1.37.0"},
        },
    }
    row = columns.node_row(node, NOW)
    assert row[1:6] == ["Ready,SchedulingDisabled", "control-plane", "<unknown>", "v1.37.0", "192.0.2.1"]


def test_a_completed_pod_carries_a_condition_on_its_row() -> None:
    row = columns.table_row(kinds.POD, _pod("Succeeded"), NOW)
    assert row["conditions"][0]["reason"] == "Succeeded"


TABLES = {
    "v1/Pod": "Name:name Ready Status Restarts Age (IP) (Node) (Nominated_Node) (Readiness_Gates)",
    "v1/PodTemplate": "Name:name Containers Images Pod_Labels",
    "v1/Service": "Name:name Type Cluster-IP External-IP Port(s) Age (Selector)",
    "v1/ConfigMap": "Name:name Data Age",
    "v1/Secret": "Name:name Type Data Age",
    "v1/Namespace": "Name:name Status Age",
    "v1/Node": "Name:name Status Roles Age Version (Internal-IP) (External-IP) (OS-Image) (Kernel-Version) "
    "(Container-Runtime)",
    "v1/Endpoints": "Name:name Endpoints Age",
    "v1/Event": "Last_Seen Type Reason Object (Subobject) (Source) Message (First_Seen) (Count) (Name:name)",
    "events.k8s.io/v1/Event": "Last_Seen Type Reason Object (Subobject) (Source) Message (First_Seen) (Count) "
    "(Name:name)",
    "v1/ServiceAccount": "Name:name Secrets Age",
    "v1/PersistentVolume": "Name:name Capacity Access_Modes Reclaim_Policy Status Claim StorageClass "
    "VolumeAttributesClass Reason Age (VolumeMode)",
    "v1/PersistentVolumeClaim": "Name:name Status Volume Capacity Access_Modes StorageClass VolumeAttributesClass Age "
    "(VolumeMode)",
    "storage.k8s.io/v1/StorageClass": "Name:name Provisioner ReclaimPolicy VolumeBindingMode AllowVolumeExpansion Age",
    "discovery.k8s.io/v1/EndpointSlice": "Name:name AddressType Ports Endpoints Age",
    "coordination.k8s.io/v1/Lease": "Name:name Holder Age",
    "node.k8s.io/v1/RuntimeClass": "Name:name Handler Age",
    "scheduling.k8s.io/v1/PriorityClass": "Name:name integer=Value boolean=Global-Default Age PreemptionPolicy",
    "rbac.authorization.k8s.io/v1/Role": "Name:name date=Created_At",
    "rbac.authorization.k8s.io/v1/ClusterRole": "Name:name date=Created_At",
    "rbac.authorization.k8s.io/v1/RoleBinding": "Name:name Role Age (Users) (Groups) (ServiceAccounts)",
    "rbac.authorization.k8s.io/v1/ClusterRoleBinding": "Name:name Role Age (Users) (Groups) (ServiceAccounts)",
}
"""As kubernetes' pkg/printers/internalversion defines them: ``type=Name:format``, wide ones in brackets."""


def _spell(column: Document) -> str:
    kind = "" if column["type"] == "string" else f"{column['type']}="
    form = f":{column['format']}" if column["format"] else ""
    word = f"{kind}{column['name'].replace(' ', '_')}{form}"
    return f"({word})" if column["priority"] else word


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: f"{kind.group_version}/{kind.kind}")
def test_tables_have_the_columns_of_kubernetes(kind: Kind) -> None:
    spelled = " ".join(_spell(column) for column in columns.table_columns(kind))
    assert spelled == TABLES[f"{kind.group_version}/{kind.kind}"]


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: f"{kind.group_version}/{kind.kind}")
def test_columns_that_show_a_field_name_one_that_there_is(kind: Kind) -> None:
    facts = json.loads(Path(columns.__file__).with_name("schema_facts.json").read_text())
    for column in kind.columns:
        definition, _, field = column.field.rpartition(".")
        home = "io.k8s.apimachinery.pkg.apis." if definition.startswith("meta.") else "io.k8s.api."
        assert bool(column.field) != bool(column.description) or column.name == "Handler"
        assert not column.field or field in facts[home + definition]["fields"]


@pytest.mark.parametrize(
    ("kind", "document", "cells"),
    [
        (kinds.ENDPOINTS, {"subsets": [{"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1}]}]}, [""]),
        (
            kinds.ENDPOINT_SLICE,
            {
                "addressType": "IPv4",
                "ports": [{"port": 1}, {"name": "b"}, {}, {"port": 4}],
                "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}],
            },
            ["IPv4", "1,b,* + 1 more...", "10.0.0.1,10.0.0.2"],
        ),
        (kinds.ENDPOINT_SLICE, {"addressType": "FQDN"}, ["FQDN", "<unset>", "<unset>"]),
        (EVENT, {"involvedObject": {"kind": "Pod"}, "series": {"count": 4}}, ["<unknown>", "", "", "pod"]),
        (kinds.LEASE, {"spec": {"holderIdentity": "me"}}, ["me"]),
        (kinds.LEASE, {}, [""]),
        (kinds.SECRET, {"type": "Opaque", "data": {"a": "", "b": ""}}, ["Opaque", 2]),
        (kinds.CONFIG_MAP, {"data": {"a": ""}, "binaryData": {"b": ""}}, [2]),
        (kinds.SERVICE_ACCOUNT, {"secrets": [{"name": "a"}]}, [1]),
        (kinds.RUNTIME_CLASS, {"handler": "crun"}, ["crun"]),
        (PRIORITY_CLASS, {"value": 7}, [7, False, "<unknown>", ""]),
        (
            PERSISTENT_VOLUME_CLAIM,
            {"spec": {"volumeName": "v", "storageClassName": "s"}, "status": {"phase": "Bound"}},
            ["Bound", "v", "0", "", "s", "<unset>", "<unknown>", "<unset>"],
        ),
        (
            PERSISTENT_VOLUME_CLAIM,
            {
                "metadata": {"name": "x", "annotations": {"volume.beta.kubernetes.io/storage-class": "old"}},
                "spec": {"storageClassName": "s", "volumeAttributesClassName": "", "volumeMode": "Block"},
                "status": {"phase": "Pending", "accessModes": ["ReadWriteOnce"]},
            },
            ["Pending", "", "", "", "old", "", "<unknown>", "Block"],
        ),
        (
            PERSISTENT_VOLUME,
            {
                "metadata": {"name": "x", "deletionTimestamp": "y"},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteMany", "ReadWriteOnce", "ReadOnlyMany"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "claimRef": {"namespace": "n", "name": "c"},
                },
                "status": {"phase": "Bound"},
            },
            ["1Gi", "RWO,ROX,RWX", "Retain", "Terminating", "n/c", "", "<unset>", "", "<unknown>", "<unset>"],
        ),
        (STORAGE_CLASS, {"provisioner": "p"}, ["p", "Delete", "Immediate", False, "<unknown>"]),
        (
            ROLE_BINDING,
            {
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [
                    {"kind": "User", "name": "u"},
                    {"kind": "ServiceAccount", "namespace": "n", "name": "s"},
                    {"kind": "User", "name": "a"},
                ],
            },
            ["Role/r", "<unknown>", "u, a", "", "n/s"],
        ),
        (kinds.POD_TEMPLATE, {"template": {"metadata": {"labels": {"b": "", "a": "1"}}}}, ["", "", "a=1,b="]),
    ],
)
def test_cells(kind: Kind, document: Document, cells: list[Any]) -> None:
    row = columns.table_row(kind, {"metadata": {"name": "x"}, **document}, NOW)["cells"]
    first = 0 if kind is EVENT else 1
    assert row[first : first + len(cells)] == cells


def test_the_default_class_is_marked() -> None:
    for annotation in (
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ):
        document = {"metadata": {"name": "x", "annotations": {annotation: "true"}}}
        assert columns.table_row(STORAGE_CLASS, document, NOW)["cells"][0] == "x (default)"


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: str(kind.kind))
@settings(max_examples=30, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_every_kind_has_as_many_cells_as_columns(
    documents_of: Callable[[str], st.SearchStrategy[Document]], kind: Kind, data: st.DataObject
) -> None:
    row = columns.table_row(kind, data.draw(documents_of(kind.schema)), NOW)
    assert len(row["cells"]) == len(columns.table_columns(kind))

"""The Python client ``kubernetes``: typed and dynamic, watch, logs, apply, as its users write it.

Its stream module has tests of its own.
"""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from harness.client_pod import PORT, build_client_pod
from harness.daemon import Daemon

kubernetes = pytest.importorskip("kubernetes")
dynamic = pytest.importorskip("kubernetes.dynamic")
stream = pytest.importorskip("kubernetes.stream")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def is_ready(pod: Any) -> bool:
    conditions = (pod.status and pod.status.conditions) or []
    return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)


def test_the_typed_client_runs_a_pod_from_creation_to_its_end(daemon: Daemon, namespace: str) -> None:
    client = kubernetes.config.new_client_from_config(config_file=str(daemon.kubeconfig))
    core = kubernetes.client.CoreV1Api(client)
    version = core.list_namespaced_pod(namespace).metadata.resource_version
    core.create_namespaced_pod(namespace, build_client_pod("typed"))
    watch = kubernetes.watch.Watch()
    types = []
    options = {"label_selector": "app=typed", "resource_version": version, "timeout_seconds": 60}
    for event in watch.stream(core.list_namespaced_pod, namespace, **options):
        types.append(event["type"])
        if is_ready(event["object"]):
            watch.stop()
    assert types[0] == "ADDED"
    assert set(types[1:]) == {"MODIFIED"}
    selected = core.list_namespaced_pod(
        namespace, label_selector="app in (typed)", field_selector="status.phase=Running"
    )
    assert [pod.metadata.name for pod in selected.items] == ["typed"]
    assert selected.items[0].spec.containers[0].env[0].value == "typed"

    logs = kubernetes.watch.Watch()
    heard = []
    for line in logs.stream(core.read_namespaced_pod_log, "typed", namespace):
        heard.append(line)
        if line == "listening":
            forward = stream.portforward(
                core.connect_get_namespaced_pod_portforward, "typed", namespace, ports=str(PORT)
            )
            connection: socket.socket = forward.socket(PORT)
            connection.settimeout(20)
            connection.sendall(b"python")
            assert connection.recv(100) == b"python"
            connection.close()
        if line == "heard python":
            logs.stop()
    assert heard[0] == "listening"
    call = core.connect_get_namespaced_pod_exec
    assert stream.stream(call, "typed", namespace, command=["printenv", "WHO"], stdout=True) == "typed\n"

    patched = core.patch_namespaced_pod("typed", namespace, {"metadata": {"labels": {"more": "yes"}}})
    assert patched.metadata.labels == {"app": "typed", "more": "yes"}
    with pytest.raises(kubernetes.client.ApiException) as conflict:
        core.replace_namespaced_pod("typed", namespace, selected.items[0])
    assert (conflict.value.status, conflict.value.reason) == (409, "Conflict")
    version = patched.metadata.resource_version
    core.delete_namespaced_pod("typed", namespace)
    options = {"field_selector": "metadata.name=typed", "resource_version": version, "timeout_seconds": 60}
    types.clear()
    for event in watch.stream(core.list_namespaced_pod, namespace, **options):
        types.append(event["type"])
        if types[-1] == "DELETED":
            watch.stop()
    assert types[-1] == "DELETED"
    with pytest.raises(kubernetes.client.ApiException) as gone:
        core.read_namespaced_pod("typed", namespace)
    assert gone.value.status == 404
    client.close()


def test_the_dynamic_client_finds_every_kind_and_applies(daemon: Daemon, namespace: str) -> None:
    client = kubernetes.config.new_client_from_config(config_file=str(daemon.kubeconfig))
    cluster = dynamic.DynamicClient(client)
    maps = cluster.resources.get(api_version="v1", kind="ConfigMap")
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "m", "namespace": namespace, "labels": {"a": "b"}},
        "data": {"k": "v"},
    }
    applied = maps.server_side_apply(body=document, field_manager="one")
    assert applied.data.k == "v"
    with pytest.raises(dynamic.exceptions.ConflictError) as conflict:
        maps.server_side_apply(body=document | {"data": {"k": "w"}}, field_manager="two")
    assert json.loads(conflict.value.body)["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.k'
    forced = maps.server_side_apply(body=document | {"data": {"k": "w"}}, field_manager="two", force_conflicts=True)
    assert forced.data.to_dict() == {"k": "w"}
    merged = maps.patch(
        name="m", namespace=namespace, body={"data": {"x": "y"}}, content_type="application/merge-patch+json"
    )
    assert merged.data.to_dict() == {"k": "w", "x": "y"}
    listed = maps.get(namespace=namespace, label_selector="a=b")
    assert [item.metadata.name for item in listed.items] == ["m"]
    watched = maps.watch(namespace=namespace, name="m", timeout=5)
    assert next(watched)["raw_object"]["data"] == {"k": "w", "x": "y"}
    slices = cluster.resources.get(api_version="discovery.k8s.io/v1", kind="EndpointSlice")
    assert slices.get(namespace="default").items
    assert cluster.resources.get(api_version="events.k8s.io/v1", kind="Event").get(namespace=namespace).items == []
    assert maps.delete(name="m", namespace=namespace).status == "Success"
    with pytest.raises(dynamic.exceptions.NotFoundError):
        maps.get(name="m", namespace=namespace)
    client.close()

"""The Python client ``lightkube``."""

from __future__ import annotations

import pytest

from harness.client_pod import build_client_pod
from harness.daemon import Daemon

lightkube = pytest.importorskip("lightkube")
core_v1 = pytest.importorskip("lightkube.resources.core_v1")
types = pytest.importorskip("lightkube.types")
codecs = pytest.importorskip("lightkube.codecs")


def test_lightkube_runs_a_pod_from_creation_to_its_end(daemon: Daemon, namespace: str) -> None:
    config = lightkube.KubeConfig.from_file(str(daemon.kubeconfig))
    client = lightkube.Client(config=config, namespace=namespace, field_manager="lightkube")
    pod, config_map = core_v1.Pod, core_v1.ConfigMap
    created = client.create(codecs.from_dict(build_client_pod("light")))
    assert created.status.phase == "Pending"
    ready = client.wait(pod, "light", for_conditions=["Ready"])
    assert ready.status.podIP
    version = ready.metadata.resourceVersion
    listed = client.list(pod, labels={"app": ["light", "other"]}, fields={"spec.nodeName": ready.spec.nodeName})
    assert [item.metadata.name for item in listed] == ["light"]
    assert [item.metadata.name for item in client.list(pod, chunk_size=1)] == ["light"]

    done = client.exec(
        "light", command=["sh", "-c", "cat; echo $WHO; echo no >&2; exit 3"], stdin="in\n", stdout=True, stderr=True
    )
    assert (done.stdout, done.stderr, done.exit_code) == ("in\nlight\n", "no\n", 3)
    say = "import socket; s = socket.create_connection(('127.0.0.1', 7000)); s.sendall(b'lightkube'); s.recv(9)"
    lines = []
    for line in client.log("light", follow=True, newlines=False):
        lines.append(line)
        if line == "listening":
            client.exec("light", command=["python3", "-c", say], raise_on_error=True)
        if line == "heard lightkube":
            break
    assert lines[0] == "listening"

    patched = client.patch(pod, "light", {"metadata": {"annotations": {"a": "b"}}}, patch_type=types.PatchType.MERGE)
    assert patched.metadata.annotations["a"] == "b"
    changes = [{"op": "add", "path": "/metadata/labels/x", "value": "y"}]
    assert client.patch(pod, "light", changes, patch_type=types.PatchType.JSON).metadata.labels["x"] == "y"
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}}
    applied = client.apply(codecs.from_dict(document))
    assert applied.data == {"k": "v"}
    document["data"] = {"k": "w"}
    with pytest.raises(lightkube.ApiError) as conflict:
        client.apply(codecs.from_dict(document), field_manager="other")
    assert (conflict.value.status.code, conflict.value.status.reason) == (409, "Conflict")
    assert client.apply(codecs.from_dict(document), field_manager="other", force=True).data == {"k": "w"}
    fresh = client.get(config_map, "m")
    fresh.data["z"] = "1"
    assert client.replace(fresh).data == {"k": "w", "z": "1"}

    client.delete(pod, "light")
    watching = client.watch(pod, fields={"metadata.name": "light"}, resource_version=version)
    assert next(change for change, _ in watching if change == "DELETED")
    with pytest.raises(lightkube.ApiError) as gone:
        client.get(pod, "light")
    assert gone.value.status.reason == "NotFound"
    client.close()

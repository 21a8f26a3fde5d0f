"""Persistent volume claims: they outlive pods and daemons, and go as their class says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.covers import covers
from harness.daemon import Daemon, running_daemon, wait_until

CLAIMS = """
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: late}
provisioner: podhost.dev/local
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Retain
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: soon}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: late}
spec: {accessModes: [ReadWriteOnce], storageClassName: late, resources: {requests: {storage: 10Mi}}}
"""


@pytest.fixture(scope="module")
def daemon(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store) as running:
        yield running


def apply_pod(daemon: Daemon, name: str, script: str) -> None:
    volumes: list[dict[str, Any]] = [
        {"name": each, "persistentVolumeClaim": {"claimName": each}} for each in ("soon", "late")
    ]
    meta = {"labels": {"tier": "db"}, "annotations": {"note": "of the template"}}
    template = {
        "metadata": meta,
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    volumes.append({"name": "own", "ephemeral": {"volumeClaimTemplate": template}})
    mounts = [{"name": each, "mountPath": f"/{each}"} for each in ("soon", "late", "own")]
    container = {"name": "c", "image": "debian", "command": ["sh", "-c", script], "volumeMounts": mounts}
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsUser": 1000, "fsGroup": 2000},
        "containers": [container],
        "volumes": volumes,
    }
    daemon.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}))


def phases(daemon: Daemon, kind: str) -> dict[str, str]:
    items = json.loads(daemon.kubectl("get", kind, "-o", "json").stdout)["items"]
    return {item["metadata"]["name"]: item["status"]["phase"] for item in items}


@covers(
    "EphemeralVolumeSource.volumeClaimTemplate", "ObjectMeta.annotations", "ObjectMeta.labels",
    "PersistentVolumeClaimSpec.accessModes", "PersistentVolumeClaimSpec.resources",
    "PersistentVolumeClaimSpec.storageClassName", "PersistentVolumeClaimTemplate.metadata",
    "PersistentVolumeClaimTemplate.spec", "PersistentVolumeClaimVolumeSource.claimName", "Volume.ephemeral",
    "Volume.persistentVolumeClaim", "VolumeResourceRequirements.requests",
)  # fmt: skip
def test_claims_outlive_their_pods_and_the_daemon(daemon: Daemon) -> None:
    daemon.apply(CLAIMS)
    daemon.kubectl("wait", "pvc/soon", "--for=jsonpath={.status.phase}=Bound", "--timeout=30s")
    assert phases(daemon, "pvc")["late"] == "Pending"
    apply_pod(daemon, "first", "echo kept > /soon/f && echo kept > /late/f && touch /own/f && sleep infinity")
    daemon.wait("pod/first", "condition=Ready")
    assert set(phases(daemon, "pvc").values()) == {"Bound"}
    own = json.loads(daemon.kubectl("get", "pvc", "first-own", "-o", "json").stdout)["metadata"]
    assert (own["labels"], own["annotations"]["note"]) == ({"tier": "db"}, "of the template")
    listing = daemon.kubectl("get", "pvc,pv,sc").stdout
    assert "standard (default)   podhost.dev/local" in listing
    assert " RWO " in listing

    # In use: deletion waits for the pod.
    daemon.kubectl("delete", "pvc", "late", "--wait=false")
    assert " Terminating " in daemon.kubectl("get", "pvc", "late").stdout
    daemon.terminate()
    daemon.start()
    daemon.kubectl("delete", "pod", "first")
    wait_until(
        lambda: set(phases(daemon, "pvc")) == {"soon"}, what="the end of the pod's own claim and of the deleted one"
    )
    wait_until(lambda: sorted(phases(daemon, "pv").values()) == ["Bound", "Released"], what="the reclaim")

    # A released volume is somebody's data: it is given to a new claim only by hand.
    ((name, _),) = [item for item in phases(daemon, "pv").items() if item[1] == "Released"]
    daemon.kubectl("patch", "pv", name, "-p", '{"spec":{"claimRef":{"uid":null,"resourceVersion":null}}}')
    daemon.apply(CLAIMS)
    apply_pod(daemon, "second", "cat /soon/f /late/f; ls /own")
    daemon.wait("pod/second", "jsonpath={.status.phase}=Succeeded")
    assert daemon.kubectl("logs", "second").stdout.split() == ["kept", "kept"]
    daemon.kubectl("delete", "pod", "second")

    daemon.kubectl("delete", "pvc", "--all")
    wait_until(lambda: phases(daemon, "pv") == {name: "Released"}, what="the deletion of what was made")
    daemon.kubectl("delete", "pv", name)
    # Retained: the data is the user's.
    (kept,) = (daemon.data_root / daemon.instance / "volumes").iterdir()
    assert (kept / "f").read_text() == "kept\n"

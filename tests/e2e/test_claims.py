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


REFUSED = """
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: grows}
provisioner: podhost.dev/local
allowVolumeExpansion: true
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: there}
spec:
  capacity: {storage: 1Mi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Recycle
  local: {path: /tmp}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [
    {key: kubernetes.io/hostname, operator: In, values: [elsewhere]}]}]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: larger}
spec: {accessModes: [ReadWriteOnce], storageClassName: "", volumeName: there, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: chooses}
spec: {accessModes: [ReadWriteOnce], selector: {matchLabels: {a: b}}, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: fixed}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: single}
spec: {accessModes: [ReadWriteOncePod], storageClassName: grows, resources: {requests: {storage: 1Gi}}}
"""


def test_claims_grow_and_are_refused_in_kubernetes_words(daemon: Daemon) -> None:
    daemon.kubectl("create", "namespace", "words")

    def kubectl(*words: str, stdin: str | None = None) -> str:
        result = daemon.kubectl("-n", "words", *words, stdin=stdin, check=False)
        return result.stdout + result.stderr

    def says(name: str, text: str, kind: str = "pvc") -> None:
        wait_until(lambda: text in kubectl("describe", kind, name), what=f"{name}: {text}")

    def ask(name: str, size: str) -> str:
        return kubectl("patch", "pvc", name, "-p", json.dumps({"spec": {"resources": {"requests": {"storage": size}}}}))

    kubectl("apply", "-f", "-", stdin=REFUSED)
    says("larger", 'Cannot bind to requested volume "there": requested PV is too small')
    says("chooses", 'failed to provision volume with StorageClass "standard": claim.Spec.Selector is not supported')
    for name in ("fixed", "single"):
        kubectl("wait", f"pvc/{name}", "--for=jsonpath={.status.phase}=Bound", "--timeout=30s")
    assert "only dynamically provisioned pvc can be resized and the storageclass that" in ask("fixed", "2Gi")
    assert "patched" in ask("single", "2Gi")
    says("single", "Resize volume succeeded")
    assert "field can not be less than status.capacity" in ask("single", "1Gi")
    assert kubectl("get", "pvc", "single", "-o", "jsonpath={.status.capacity.storage}") == "2Gi"

    # Only one pod at a time, and the claim of none is anybody's to unprotect.
    container = {"name": "c", "image": "debian", "command": ["sleep", "infinity"]}
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "single"}}]
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": volumes}
    for name in ("one", "two"):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        if name == "one":
            kubectl("wait", "pod/one", "--for=condition=Ready", "--timeout=60s")
    says("two", "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode", "pod")
    kubectl("patch", "pvc", "single", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    wait_until(lambda: "pvc-protection" in kubectl("get", "pvc", "single", "-o", "yaml"), what="the protection")
    daemon.kill()
    daemon.start()
    kubectl("delete", "pod", "one")
    kubectl("wait", "pod/two", "--for=condition=Ready", "--timeout=60s")

    # A volume of another node, and one that nobody can reclaim.
    kubectl("delete", "pvc", "larger")
    smaller = REFUSED.split("---")[2].replace("1Gi", "1Mi")
    kubectl("apply", "-f", "-", stdin=smaller)
    kubectl("wait", "pvc/larger", "--for=jsonpath={.status.phase}=Bound", "--timeout=30s")
    far = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "far"}, "spec": spec})
    kubectl("apply", "-f", "-", stdin=far.replace('"single"', '"larger"'))
    says("far", "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity.", "pod")
    kubectl("delete", "pod", "far", "two")
    kubectl("delete", "pvc", "larger")
    says("there", "No recycler plugin found for the volume!", "pv")
    assert kubectl("get", "pv", "there", "-o", "jsonpath={.status.phase}") == "Failed"


def test_a_claim_that_has_lost_its_volume_is_bound_again_when_it_is_back(daemon: Daemon) -> None:
    daemon.kubectl("create", "namespace", "lost")

    def kubectl(*words: str, stdin: str | None = None) -> str:
        result = daemon.kubectl("-n", "lost", *words, stdin=stdin, check=False)
        return result.stdout + result.stderr

    def phase(kind: str, name: str) -> str:
        return kubectl("get", kind, name, "-o", "jsonpath={.status.phase}")

    kubectl("apply", "-f", "-", stdin=CLAIMS.split("---")[1])
    kubectl("wait", "pvc/soon", "--for=jsonpath={.status.phase}=Bound", "--timeout=30s")
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "soon"}}]
    container = {"name": "c", "image": "debian", "volumeMounts": [{"name": "d", "mountPath": "/d"}]}

    def run(name: str, script: str) -> None:
        spec = {"restartPolicy": "Never", "volumes": volumes}
        spec["containers"] = [{**container, "command": ["sh", "-c", script]}]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        kubectl("apply", "-f", "-", stdin=json.dumps(pod))

    run("writes", "echo kept > /d/f")
    kubectl("wait", "pod/writes", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    name = kubectl("get", "pvc", "soon", "-o", "jsonpath={.spec.volumeName}")
    volume = json.loads(kubectl("get", "pv", name, "-o", "json"))
    # Somebody takes away what protects it.
    kubectl("delete", "pv", name, "--wait=false")
    kubectl("patch", "pv", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    wait_until(lambda: phase("pvc", "soon") == "Lost", what="the loss")
    assert "Bound claim has lost its PersistentVolume. Data on the volume is lost!" in kubectl(
        "describe", "pvc", "soon"
    )
    run("reads", "cat /d/f")
    text = f'persistentvolumeclaim "soon" bound to non-existent persistentvolume "{name}"'
    wait_until(lambda: text in kubectl("describe", "pod", "reads"), what="the pod to wait")

    # Reserved for the claim by name it is another's until it says which; that is not how it comes back.
    volume = {key: volume[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": name}}
    ref = volume["spec"].pop("claimRef")
    reserved = {**volume, "spec": {**volume["spec"], "claimRef": {k: ref[k] for k in ("namespace", "name")}}}
    kubectl("create", "-f", "-", stdin=json.dumps(reserved))
    wait_until(lambda: phase("pv", name) == "Available", what="the reserved volume")
    assert phase("pvc", "soon") == "Lost"
    kubectl("patch", "pv", name, "--type=merge", "-p", '{"spec":{"claimRef":null}}')
    wait_until(lambda: (phase("pvc", "soon"), phase("pv", name)) == ("Bound", "Bound"), what="the claim to be bound")
    kubectl("wait", "pod/reads", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert kubectl("logs", "reads") == "kept\n"
    kubectl("delete", "pod", "--all")
    kubectl("delete", "pvc", "soon")


def test_the_data_of_a_volume_that_is_deleted_before_its_claim_goes_with_it(daemon: Daemon) -> None:
    daemon.kubectl("create", "namespace", "both")

    def kubectl(*words: str, stdin: str | None = None) -> str:
        return daemon.kubectl("-n", "both", *words, stdin=stdin).stdout

    kubectl("apply", "-f", "-", stdin=CLAIMS.split("---")[1])
    container = {"name": "c", "image": "debian", "command": ["sleep", "infinity"]}
    spec = {
        "terminationGracePeriodSeconds": 0,
        "containers": [{**container, "volumeMounts": [{"name": "d", "mountPath": "/d"}]}],
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "soon"}}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": spec}
    kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    kubectl("wait", "pod/user", "--for=condition=Ready", "--timeout=60s")
    name = kubectl("get", "pvc", "soon", "-o", "jsonpath={.spec.volumeName}")
    directory = daemon.data_root / daemon.instance / "volumes" / name
    kubectl("delete", "pvc", "soon", "--wait=false")
    kubectl("delete", "pv", name, "--wait=false")
    assert directory.exists()
    kubectl("delete", "pod", "user")
    kubectl("wait", f"pv/{name}", "--for=delete", "--timeout=30s")
    assert not directory.exists()

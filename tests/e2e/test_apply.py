"""Server-side apply, diff and cascading deletion with a real pod, kubelet and garbage collector."""

from __future__ import annotations

import json
from typing import Any

from harness.daemon import Daemon, wait_until

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: p, tier: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: debian, command: [sleep, infinity], ports: [{containerPort: 80}]}]
"""


def managers(daemon: Daemon, namespace: str) -> set[tuple[str, str, str]]:
    entries = daemon.pod("p", namespace)["metadata"]["managedFields"]
    return {(entry["manager"], entry["operation"], entry.get("subresource", "")) for entry in entries}


def version(daemon: Daemon, namespace: str) -> str:
    found: str = daemon.pod("p", namespace)["metadata"]["resourceVersion"]
    return found


def test_a_pod_is_applied_by_the_server_and_its_fields_have_managers(daemon: Daemon, namespace: str) -> None:
    def apply(text: str, *flags: str, check: bool = True) -> Any:
        return daemon.kubectl("apply", "-n", namespace, "--server-side", "-f", "-", *flags, stdin=text, check=check)

    assert apply(POD).stdout == "pod/p serverside-applied\n"
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/p", "--timeout=40s")
    assert {("kubectl", "Apply", ""), ("kubelet", "Update", "status")} <= managers(daemon, namespace)
    settled = version(daemon, namespace)
    apply(POD)
    assert version(daemon, namespace) == settled

    changed = POD.replace("tier: web", "tier: db")
    diff = daemon.kubectl("diff", "-n", namespace, "--server-side", "-f", "-", stdin=changed, check=False)
    assert diff.returncode == 1
    assert "-    tier: web\n+    tier: db\n" in diff.stdout
    daemon.kubectl("label", "-n", namespace, "pod", "p", "tier=cache", "--overwrite")
    refused = apply(changed, check=False)
    assert (
        'Apply failed with 1 conflict: conflict with "kubectl-label" using v1: .metadata.labels.tier' in refused.stderr
    )
    apply(changed, "--force-conflicts")
    apply(POD.replace(", tier: web", ""))
    assert daemon.pod("p", namespace)["metadata"]["labels"] == {"app": "p"}
    assert daemon.pod("p", namespace)["status"]["containerStatuses"][0]["restartCount"] == 0
    metrics = daemon.kubectl("get", "--raw", "/metrics").stdout
    assert 'kubelet_running_containers{container_state="running"}' in metrics


COMPONENTS = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: c}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: waits, labels: {app: web}}
spec: {nodeSelector: {nowhere: "true"}, containers: [{name: c, image: debian}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
API_SERVER, CONTROLLERS, SCHEDULER, KUBELET = "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"
CREATED = ("kubectl-create", "Update", "")


def test_what_components_write_is_theirs(daemon: Daemon, namespace: str) -> None:
    def writers(*what: str) -> dict[tuple[str, str, str], dict[str, Any]]:
        shown = daemon.kubectl("get", "-n", namespace, *what, "-o", "json", "--show-managed-fields").stdout
        entries = json.loads(shown)["metadata"]["managedFields"]
        return {(each["manager"], each["operation"], each.get("subresource", "")): each["fieldsV1"] for each in entries}

    daemon.kubectl("create", "-n", namespace, "-f", "-", stdin=COMPONENTS)
    daemon.kubectl("wait", "-n", namespace, "--for=jsonpath={.status.phase}=Bound", "pvc/c", "--timeout=30s")
    unscheduled = "--for=jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}=Unschedulable"
    daemon.kubectl("wait", "-n", namespace, unscheduled, "pod/waits", "--timeout=30s")
    node = daemon.kubectl("get", "node", "-o", "name").stdout.strip()
    assert set(writers(node)) >= {(KUBELET, "Update", ""), (KUBELET, "Update", "status")}
    assert set(writers("lease", "-n", "kube-node-lease", node.removeprefix("node/"))) == {(KUBELET, "Update", "")}
    assert set(writers("ns", "kube-system")) == {(API_SERVER, "Update", "")}
    aggregated = writers("clusterrole", "view")
    assert set(aggregated) == {(API_SERVER, "Update", ""), ("clusterrole-aggregation-controller", "Apply", "")}
    assert aggregated["clusterrole-aggregation-controller", "Apply", ""] == {"f:rules": {}}
    claim = writers("pvc", "c")
    assert set(claim) == {CREATED, (CONTROLLERS, "Update", ""), (CONTROLLERS, "Update", "status")}
    assert claim[CONTROLLERS, "Update", ""]["f:spec"] == {"f:volumeName": {}}
    assert "f:finalizers" not in str(claim), "nobody asked for it"
    waits = writers("pod", "waits")
    assert set(waits) == {CREATED, (SCHEDULER, "Update", "status")}
    (conditions,) = waits[SCHEDULER, "Update", "status"]["f:status"].values()
    assert set(conditions) == {".", 'k:{"type":"PodScheduled"}'}
    wait_until(lambda: "web" in daemon.kubectl("get", "ep", "-n", namespace).stdout, what="its endpoints")
    assert set(writers("ep", "web")) == {(CONTROLLERS, "Update", "")}
    metadata = {"name": node.removeprefix("node/"), "labels": {"kubernetes.io/os": "mine"}}
    config = json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
    refused = daemon.kubectl("apply", "--server-side", "-f", "-", stdin=config, check=False)
    assert 'conflict with "kubelet" using v1: .metadata.labels.kubernetes.io/os' in refused.stderr


def test_dependents_follow_their_owner_as_the_client_asks(daemon: Daemon, namespace: str) -> None:
    def config(name: str, owner: dict[str, Any] | None = None) -> dict[str, Any]:
        references = [] if owner is None else [_reference(owner)]
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": references}}
        made = daemon.kubectl("create", "-n", namespace, "-f", "-", "-o", "json", stdin=json.dumps(body)).stdout
        result: dict[str, Any] = json.loads(made)
        return result

    def names() -> set[str]:
        listed = daemon.kubectl("get", "cm", "-n", namespace, "-o", "name").stdout.split()
        return {name.removeprefix("configmap/") for name in listed} - {"kube-root-ca.crt"}

    config("child", config("owner"))
    daemon.kubectl("delete", "cm", "-n", namespace, "owner", "--cascade=orphan")
    assert names() == {"child"}
    assert "ownerReferences" not in daemon.get(f"/api/v1/namespaces/{namespace}/configmaps/child")["metadata"]
    for cascade in ("foreground", "background"):
        config("blocked", config(cascade))
        daemon.kubectl("delete", "cm", "-n", namespace, cascade, f"--cascade={cascade}")
        wait_until(lambda: names() == {"child"}, what="the dependent to go")


def _reference(owner: dict[str, Any]) -> dict[str, Any]:
    metadata = owner["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "blockOwnerDeletion": True,
    }


def test_up_applies_what_is_too_large_for_the_annotation_and_kubectl_goes_on_from_there(
    daemon: Daemon, namespace: str
) -> None:
    def text(**sizes: int) -> str:
        data = {key: "x" * size for key, size in sizes.items()}
        return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": data})

    def up(manifest: str) -> str:
        return daemon.podhost("-n", namespace, "up", "-d", "-", stdin=manifest).stderr

    def keys() -> set[str]:
        return set(daemon.get(f"/api/v1/namespaces/{namespace}/configmaps/big")["data"])

    assert "configmap/big created" in up(text(a=10, b=10))
    assert "configmap/big configured" in up(text(a=10, large=300_000)), "from the annotation to the server's notes"
    assert keys() == {"a", "large"}
    assert "configmap/big unchanged" in up(text(a=10, large=300_000))
    other = text(large=500_000, more=300_000)
    done = daemon.kubectl("apply", "-n", namespace, "--server-side", "-f", "-", stdin=other)
    assert done.stdout == "configmap/big serverside-applied\n"
    assert keys() == {"large", "more"}
    assert "configmap/big configured" in up(text(small=1))
    assert keys() == {"small"}
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=text(other=1))
    daemon.podhost("-n", namespace, "down", "-", stdin=text(other=1))
    assert "configmap/big created" in up(text(large=900_000))


def test_who_may_only_patch_or_update_makes_nothing(daemon: Daemon, namespace: str) -> None:
    def write(*words: str, stdin: str) -> str:
        done = daemon.kubectl(*words, "-n", namespace, "-f", "-", "--as=pat", stdin=stdin, check=False)
        return done.stdout + done.stderr

    daemon.kubectl(
        *("create", "role", "changer", "-n", namespace, "--verb=get,patch,update"),
        "--resource=configmaps,leases.coordination.k8s.io",
    )
    daemon.kubectl("create", "rolebinding", "changer", "-n", namespace, "--role=changer", "--user=pat")
    apply = ("apply", "--server-side")
    config = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}})
    refused = 'configmaps "c" is forbidden: User "pat" cannot create resource "configmaps" in API group ""'
    assert refused in write(*apply, stdin=config)
    daemon.kubectl(*apply, "-n", namespace, "-f", "-", stdin=config)
    assert write(*apply, "--force-conflicts", stdin=config.replace('"b"', '"c"')) == "configmap/c serverside-applied\n"

    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/l"
    words = ("replace", "--raw", path, "-f", "-")
    done = daemon.kubectl(*words, "--as=pat", stdin=json.dumps(lease), check=False)
    assert 'leases.coordination.k8s.io "l" is forbidden: User "pat" cannot create resource "leases"' in done.stderr
    assert '"name":"l"' in daemon.kubectl(*words, stdin=json.dumps(lease)).stdout, "an update may make a lease"

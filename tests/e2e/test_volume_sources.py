"""Volumes made from the pod itself and from several objects at once; mounts that propagate."""

from __future__ import annotations

import json
from typing import Any

from harness.covers import covers
from harness.daemon import Daemon, wait_until


def _apply(daemon: Daemon, namespace: str, containers: list[dict[str, Any]], volumes: list[dict[str, Any]]) -> None:
    meta = {"name": "p", "labels": {"app": "shop"}, "annotations": {"note": "n"}}
    spec = {"terminationGracePeriodSeconds": 1, "containers": containers, "volumes": volumes}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/p", "--timeout=40s")


def _run(daemon: Daemon, namespace: str, script: str, container: str = "c") -> str:
    return daemon.kubectl("exec", "-n", namespace, "p", "-c", container, "--", "bash", "-c", script).stdout


@covers(
    "ConfigMapProjection.items", "ConfigMapProjection.name", "ConfigMapProjection.optional",
    "ConfigMapVolumeSource.defaultMode", "ConfigMapVolumeSource.defaultUser", "ConfigMapVolumeSource.items",
    "ConfigMapVolumeSource.name", "ConfigMapVolumeSource.optional", "DownwardAPIProjection.items",
    "DownwardAPIVolumeFile.fieldRef", "DownwardAPIVolumeFile.mode", "DownwardAPIVolumeFile.path",
    "DownwardAPIVolumeFile.resourceFieldRef", "DownwardAPIVolumeFile.user", "DownwardAPIVolumeSource.defaultMode",
    "DownwardAPIVolumeSource.defaultUser", "DownwardAPIVolumeSource.items", "EmptyDirVolumeSource.mode",
    "KeyToPath.key", "KeyToPath.mode", "KeyToPath.path", "KeyToPath.user", "ProjectedVolumeSource.defaultMode",
    "ProjectedVolumeSource.defaultUser", "ProjectedVolumeSource.sources", "SecretProjection.items",
    "SecretProjection.name", "SecretProjection.optional", "SecretVolumeSource.defaultMode",
    "SecretVolumeSource.defaultUser", "SecretVolumeSource.items", "SecretVolumeSource.optional",
    "SecretVolumeSource.secretName", "Volume.configMap", "Volume.downwardAPI", "Volume.emptyDir", "Volume.name",
    "Volume.projected", "Volume.secret", "VolumeMount.mountPath", "VolumeMount.name", "VolumeMount.subPathExpr",
    "VolumeProjection.configMap", "VolumeProjection.downwardAPI", "VolumeProjection.secret",
)  # fmt: skip
@covers(
    "ConfigMapProjection.items", "ConfigMapProjection.name", "ConfigMapProjection.optional",
    "ConfigMapVolumeSource.defaultMode", "ConfigMapVolumeSource.defaultUser", "ConfigMapVolumeSource.items",
    "ConfigMapVolumeSource.name", "ConfigMapVolumeSource.optional", "DownwardAPIProjection.items",
    "DownwardAPIVolumeFile.fieldRef", "DownwardAPIVolumeFile.mode", "DownwardAPIVolumeFile.path",
    "DownwardAPIVolumeFile.resourceFieldRef", "DownwardAPIVolumeFile.user", "DownwardAPIVolumeSource.defaultMode",
    "DownwardAPIVolumeSource.defaultUser", "DownwardAPIVolumeSource.items", "EmptyDirVolumeSource.mode",
    "KeyToPath.key", "KeyToPath.mode", "KeyToPath.path", "KeyToPath.user", "ObjectFieldSelector.apiVersion",
    "ProjectedVolumeSource.defaultMode", "ProjectedVolumeSource.defaultUser", "ProjectedVolumeSource.sources",
    "SecretProjection.items", "SecretProjection.name", "SecretProjection.optional",
    "SecretVolumeSource.defaultMode", "SecretVolumeSource.defaultUser", "SecretVolumeSource.items",
    "SecretVolumeSource.optional", "SecretVolumeSource.secretName", "Volume.configMap", "Volume.downwardAPI",
    "Volume.emptyDir", "Volume.name", "Volume.projected", "Volume.secret", "VolumeMount.mountPath",
    "VolumeMount.name", "VolumeMount.subPathExpr", "VolumeProjection.configMap", "VolumeProjection.downwardAPI",
    "VolumeProjection.secret",
)  # fmt: skip
def test_files_of_one_volume_come_from_the_pod_and_from_several_objects(daemon: Daemon, namespace: str) -> None:
    daemon.kubectl("create", "-n", namespace, "configmap", "cm", "--from-literal=a=1", "--from-literal=b=2")
    daemon.kubectl("create", "-n", namespace, "secret", "generic", "s", "--from-literal=key=hush")
    labels = {"path": "labels", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels"}}
    cpu = {"path": "sub/cpu", "mode": 0o400, "user": 7,
           "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}}  # fmt: skip
    volumes = [
        {"name": "down", "downwardAPI": {"items": [labels, cpu], "defaultMode": 0o640, "defaultUser": 5}},
        {"name": "all", "projected": {"defaultMode": 0o444, "defaultUser": 6, "sources": [
            {"configMap": {"name": "cm", "items": [{"key": "a", "path": "cm/a", "mode": 0o600, "user": 8}]}},
            {"secret": {"name": "s", "items": [{"key": "key", "path": "secret"}]}},
            {"secret": {"name": "none", "optional": True}},
            {"configMap": {"name": "none", "optional": True}},
            {"downwardAPI": {"items": [{"path": "note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}}]}},
        ]}},
        {"name": "cm", "configMap": {"name": "cm", "defaultMode": 0o404, "defaultUser": 9}},
        {"name": "s", "secret": {"secretName": "s", "defaultUser": 10,
                                 "items": [{"key": "key", "path": "word", "mode": 0o401, "user": 11}]}},
    ]  # fmt: skip
    mounts = [{"name": volume["name"], "mountPath": f"/v/{volume['name']}"} for volume in volumes]
    volumes.append({"name": "own", "emptyDir": {"mode": 0o750}})
    mounts += [{"name": "own", "mountPath": "/own"}, {"name": "own", "mountPath": "/part", "subPathExpr": "of-$(NAME)"}]
    env = [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    container = {"name": "c", "image": "debian", "command": ["sleep", "infinity"], "volumeMounts": mounts,
                 "resources": {"limits": {"cpu": "250m"}}, "env": env}  # fmt: skip
    _apply(daemon, namespace, [container], volumes)
    listing = _run(daemon, namespace, "cd /v && find -L . -type f -not -path '*/..*' -printf '%P %m %U '  -exec cat {} ';'"
                   " -printf '\\n'")  # fmt: skip
    assert set(listing.splitlines()) - {""} == {
        'down/labels 640 5 app="shop"', "down/sub/cpu 400 7 250", "all/cm/a 600 8 1", "all/secret 444 6 hush",
        "all/note 444 6 n", "cm/a 404 9 1", "cm/b 404 9 2", "s/word 401 11 hush",
    }  # fmt: skip
    assert _run(daemon, namespace, "stat -c %a /own; touch /part/file; ls /own/of-p") == "750\nfile\n"
    daemon.kubectl("label", "pod", "-n", namespace, "p", "app=store", "--overwrite")
    wait_until(lambda: 'app="store"' in _run(daemon, namespace, "cat /v/down/labels"), what="the new label")


@covers("VolumeMount.mountPropagation")
def test_mounts_of_a_container_reach_others_when_they_propagate(daemon: Daemon, namespace: str) -> None:
    def container(name: str, propagation: str, script: str, **fields: Any) -> dict[str, Any]:
        mount = {"name": "d", "mountPath": "/d", "mountPropagation": propagation}
        return {"name": name, "image": "debian", "command": ["bash", "-c", script], "volumeMounts": [mount], **fields}

    script = "until [ -e /d/go ]; do sleep 0.05; done; mount -t tmpfs none /d/m && touch /d/m/file; sleep infinity"
    containers = [
        container("maker", "Bidirectional", script, securityContext={"privileged": True}),
        container("sees", "HostToContainer", "sleep infinity"),
        container("blind", "None", "sleep infinity"),
    ]
    _apply(daemon, namespace, containers, [{"name": "d", "emptyDir": {}}])
    _run(daemon, namespace, "mkdir /d/m && touch /d/go", "sees")
    wait_until(lambda: _run(daemon, namespace, "ls /d/m", "maker") == "file\n", what="the mount")
    wait_until(lambda: _run(daemon, namespace, "ls /d/m", "sees") == "file\n", what="the mount in the other container")
    assert _run(daemon, namespace, "ls /d/m", "blind") == ""


@covers("Volume.hostPath", "VolumeMount.readOnly", "VolumeMount.recursiveReadOnly")
def test_read_only_mounts_are_so_all_the_way_down_when_asked(daemon: Daemon, namespace: str) -> None:
    mounts = [
        {"name": "d", "mountPath": "/plain", "readOnly": True},
        {"name": "d", "mountPath": "/deep", "readOnly": True, "recursiveReadOnly": "Enabled"},
    ]
    container = {"name": "c", "image": "debian", "command": ["sleep", "infinity"], "volumeMounts": mounts}
    _apply(daemon, namespace, [container], [{"name": "d", "hostPath": {"path": "/dev", "type": "Directory"}}])
    status = daemon.pod("p", namespace)["status"]["containerStatuses"][0]["volumeMounts"]
    assert [mount["recursiveReadOnly"] for mount in status[:2]] == ["Disabled", "Enabled"]
    written = "touch /%s/shm/podhost-test 2>&1 && rm /%s/shm/podhost-test && echo written"
    assert _run(daemon, namespace, written.replace("%s", "plain")) == "written\n"
    assert "Read-only file system" in _run(daemon, namespace, written.replace("%s", "deep") + " || true")


@covers("VolumeMount.bindMountOptions")
def test_a_mount_has_the_options_that_are_asked_for(daemon: Daemon, namespace: str) -> None:
    mounts = [
        {"name": "d", "mountPath": "/plain"},
        {"name": "d", "mountPath": "/safe", "bindMountOptions": ["noexec", "nosuid", "nodev"]},
        {"name": "d", "mountPath": "/part", "subPath": "part", "bindMountOptions": ["noexec"]},
    ]
    container = {"name": "c", "image": "debian", "command": ["sleep", "infinity"], "volumeMounts": mounts}
    _apply(daemon, namespace, [container], [{"name": "d", "emptyDir": {}}])
    _run(daemon, namespace, "cp /bin/true /plain/run; cp /bin/true /part/run; mknod /plain/null c 1 3")
    script = "for f in /plain /safe /part; do $f/run 2>&1 && echo ran; done; echo x 2>&1 > /safe/null || true"
    ran, *refused = _run(daemon, namespace, script).splitlines()
    assert ran == "ran"
    assert [line.rpartition(": ")[2] for line in refused[:2]] == ["Permission denied"] * 2
    options = _run(daemon, namespace, "awk '$5 == \"/safe\" { print $6 }' /proc/self/mountinfo").strip().split(",")
    assert {"noexec", "nosuid", "nodev"} <= set(options)

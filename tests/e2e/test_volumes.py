"""Volumes as a pod sees them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from harness.covers import covers
from harness.daemon import Daemon, wait_until


def run_in(daemon: Daemon, namespace: str, container: str, script: str, *, check: bool = True) -> str:
    command = ["exec", "-n", namespace, "v", "-c", container, "--", "bash", "-c", script]
    result = daemon.kubectl(*command, check=check)
    return result.stdout + result.stderr


def pod(volumes: str, mounts_a: str, mounts_b: str = "[]") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: v}}
spec:
  terminationGracePeriodSeconds: 0
  volumes: {volumes}
  containers:
  - {{name: a, image: debian, command: [sleep, infinity], volumeMounts: {mounts_a}}}
  - {{name: b, image: debian, command: [sleep, infinity], volumeMounts: {mounts_b}}}
"""


def start(daemon: Daemon, namespace: str, manifest: str) -> None:
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/v", "--timeout=30s")


@covers("EmptyDirVolumeSource.medium", "EmptyDirVolumeSource.sizeLimit")
def test_a_memory_volume_is_one_tmpfs_with_the_size_that_was_asked_for(daemon: Daemon, namespace: str) -> None:
    volumes = "[{name: m, emptyDir: {medium: Memory, sizeLimit: 4Mi}}]"
    start(daemon, namespace, pod(volumes, "[{name: m, mountPath: /m}]", "[{name: m, mountPath: /elsewhere}]"))
    assert "tmpfs" in run_in(daemon, namespace, "a", "findmnt -no FSTYPE /m || stat -f -c %T /m")
    run_in(daemon, namespace, "a", "echo shared > /m/file")
    assert run_in(daemon, namespace, "b", "cat /elsewhere/file") == "shared\n"
    full = run_in(daemon, namespace, "a", "dd if=/dev/zero of=/m/big bs=1M count=8", check=False)
    assert "No space left on device" in full


def test_two_pods_with_volumes_of_one_name_share_nothing(daemon: Daemon, namespace: str) -> None:
    manifest = pod("[{name: data, emptyDir: {}}]", "[{name: data, mountPath: /d}]")
    start(daemon, namespace, manifest)
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest.replace("{name: v}", "{name: w}"))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/w", "--timeout=30s")
    run_in(daemon, namespace, "a", "echo mine > /d/file")
    assert daemon.kubectl("exec", "-n", namespace, "w", "-c", "a", "--", "ls", "/d").stdout == ""


@covers("VolumeMount.subPath")
def test_a_configmap_volume_follows_its_object_and_a_sub_path_does_not(daemon: Daemon, namespace: str) -> None:
    daemon.kubectl("create", "-n", namespace, "configmap", "cm", "--from-literal=k=old", "--from-literal=x.sh=run")
    volumes = "[{name: c, configMap: {name: cm, items: [{key: k, path: dir/k}, {key: x.sh, path: x, mode: 0555}]}}]"
    mounts = "[{name: c, mountPath: /c}, {name: c, mountPath: /single, subPath: dir/k}]"
    start(daemon, namespace, pod(volumes, mounts))
    assert run_in(daemon, namespace, "a", "cat /c/dir/k /single; stat -Lc %a /c/x") == "oldold555\n"
    layout = run_in(daemon, namespace, "a", "readlink /c/dir; readlink /c/..data")
    assert layout.splitlines()[0] == "..data/dir"
    daemon.kubectl("patch", "-n", namespace, "configmap", "cm", "--type=merge", "-p", '{"data":{"k":"new"}}')
    wait_until(lambda: run_in(daemon, namespace, "a", "cat /c/dir/k") == "new", what="the update")
    assert run_in(daemon, namespace, "a", "cat /single") == "old"
    assert "Read-only file system" in run_in(daemon, namespace, "a", "echo x > /c/dir/k", check=False)


def test_a_secret_volume_shows_decoded_data_in_memory(daemon: Daemon, namespace: str) -> None:
    daemon.kubectl("create", "-n", namespace, "secret", "generic", "s", "--from-literal=password=hunter2")
    volumes = "[{name: s, secret: {secretName: s, defaultMode: 0400}}]"
    start(daemon, namespace, pod(volumes, "[{name: s, mountPath: /s, readOnly: true}]"))
    assert run_in(daemon, namespace, "a", "cat /s/password; stat -Lc ' %a' /s/password; stat -f -c %T /s") == (
        "hunter2 400\ntmpfs\n"
    )


def test_a_missing_object_is_said_and_then_waited_for(daemon: Daemon, namespace: str) -> None:
    volumes = "[{name: c, configMap: {name: late}}, {name: o, configMap: {name: never, optional: true}}]"
    manifest = pod(volumes, "[{name: c, mountPath: /c}, {name: o, mountPath: /o}]")
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)

    def messages() -> str:
        events = daemon.get(f"/api/v1/namespaces/{namespace}/events")["items"]
        return " ".join(event["message"] for event in events if event["reason"] == "FailedMount")

    wait_until(lambda: 'configmap "late" not found' in messages(), what="the FailedMount event")
    assert "Pulled" not in {event["reason"] for event in daemon.get(f"/api/v1/namespaces/{namespace}/events")["items"]}
    daemon.kubectl("create", "-n", namespace, "configmap", "late", "--from-literal=k=there")
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/v", "--timeout=30s")
    assert run_in(daemon, namespace, "a", "cat /c/k; ls /o") == "there"

    # It goes while the pod runs: the files stay, and it is said until it is there again.
    daemon.kubectl("delete", "-n", namespace, "configmap", "late")

    def describe() -> str:
        return daemon.kubectl("describe", "-n", namespace, "pod", "v").stdout

    lost = r"FailedMount +[^(]*\(x([0-9]+) over [^)]*\) .*configmap \"late\" not found"
    wait_until(lambda: (found := re.search(lost, describe())) and int(found[1]) >= 4, what="the repeated event")
    assert run_in(daemon, namespace, "a", "cat /c/k") == "there"
    daemon.kubectl("create", "-n", namespace, "configmap", "late", "--from-literal=k=back")
    wait_until(lambda: run_in(daemon, namespace, "a", "cat /c/k") == "back", what="the new file")


@covers("HostPathVolumeSource.path", "HostPathVolumeSource.type")
def test_host_paths_are_checked_and_survive_the_pod(daemon: Daemon, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host")
    volumes = json.dumps(
        [
            {"name": "d", "hostPath": {"path": str(tmp_path), "type": "Directory"}},
            {"name": "new", "hostPath": {"path": str(tmp_path / "new" / "dir"), "type": "DirectoryOrCreate"}},
        ]
    )
    mounts = "[{name: d, mountPath: /d, readOnly: true}, {name: new, mountPath: /n}]"
    start(daemon, namespace, pod(volumes, mounts))
    assert run_in(daemon, namespace, "a", "cat /d/file") == "from the host"
    assert "Read-only file system" in run_in(daemon, namespace, "a", "touch /d/x", check=False)
    run_in(daemon, namespace, "a", "echo written > /n/out")
    daemon.kubectl("delete", "-n", namespace, "pod", "v", "--timeout=30s")
    assert (tmp_path / "new" / "dir" / "out").read_text() == "written\n"
    assert (tmp_path / "file").read_text() == "from the host"


def test_what_containers_of_a_pod_share_and_what_not(daemon: Daemon, namespace: str) -> None:
    start(daemon, namespace, pod("[]", "[]"))
    run_in(daemon, namespace, "a", "echo posix > /dev/shm/segment; touch /tmp/own")
    assert run_in(daemon, namespace, "b", "cat /dev/shm/segment; ls /tmp") == "posix\n"
    assert run_in(daemon, namespace, "b", "hostname; cat /etc/hostname") == "v\nv\n"
    same = [run_in(daemon, namespace, name, "readlink /proc/self/ns/{net,ipc,uts}") for name in ("a", "b")]
    assert same[0] == same[1]
    apart = [run_in(daemon, namespace, name, "readlink /proc/self/ns/{pid,mnt}") for name in ("a", "b")]
    assert apart[0] != apart[1]
    assert run_in(daemon, namespace, "a", "grep Seccomp: /proc/1/status").split()[-1] == "2"


@covers("Volume.image", "ImageVolumeSource.reference", "ImageVolumeSource.pullPolicy")
def test_an_image_is_a_volume_that_can_be_read_and_not_run(daemon: Daemon, namespace: str) -> None:
    volumes = [{"name": "web", "image": {"reference": "nginx", "pullPolicy": "IfNotPresent"}}]
    mounts = [
        {"name": "web", "mountPath": "/web"},
        {"name": "web", "mountPath": "/conf", "subPath": "etc/nginx"},
    ]
    digest = _find_digest(daemon, "nginx")
    script = "ls /conf/nginx.conf; touch /web/x 2>/dev/null || echo read-only; /web/bin/true || echo not run; sleep inf"
    for users in (True, False):
        name = "mapped" if not users else "plain"
        spec = {
            "hostUsers": users,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {"name": "c", "image": "debian", "command": ["sh", "-c", script], "volumeMounts": mounts},
            ],
            "volumes": volumes,
        }
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        done = daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(manifest))
        assert "Warning" not in done.stderr
        daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
        said = _wait_for_log(daemon, namespace, name, "not run")
        assert [line for line in said.splitlines() if "Permission" not in line] == [
            "/conf/nginx.conf",
            "read-only",
            "not run",
        ]
        shown = daemon.pod(name, namespace)["status"]["containerStatuses"][0]["volumeMounts"]
        assert [each["volumeStatus"]["image"]["imageRef"] for each in shown[:2]] == [digest] * 2
        assert "volumeStatus" not in shown[2]
    daemon.kubectl("delete", "pod", "--all", "-n", namespace, "--timeout=30s")
    wait_until(lambda: not list(daemon.data_root.glob("*/layers/volume-*")), what="the release of the images")


def _find_digest(daemon: Daemon, name: str) -> str:
    """What a container of the image has as its ``imageID``."""
    image = json.loads(daemon.podhost("image", "inspect", name).stdout)
    image = image[0] if isinstance(image, list) else image
    return str((image["repo_digests"] or [image["id"]])[0])


def _wait_for_log(daemon: Daemon, namespace: str, name: str, words: str) -> str:
    def read() -> str:
        said: str = daemon.kubectl("logs", "-n", namespace, name).stdout
        return said if words in said else ""

    found: str = wait_until(read, what="the container's words")
    return found

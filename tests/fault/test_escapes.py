"""Containers, manifests and images that try to get out: every attempt fails, and says why."""

from __future__ import annotations

import errno
import json
import os
import platform
import socket
import tarfile
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.daemon import Daemon, running_daemon, wait_until
from harness.pods import build_pod, container_status, wait_for_event, wait_for_waiting
from registry import Registry, make_tar
from registry import registry as registry

# crun's /sys/fs/cgroup on v1 is a small tmpfs of the container's own; the hierarchies below it are what counts.
_CGROUP = "d=/sys/fs/cgroup; [ -d $d/memory ] && d=$d/memory;"
NO_BACKSTEPS = "must not contain '..'"


@pytest.fixture(scope="module")
def daemon(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store) as running:
        yield running


@pytest.fixture(scope="module")
def inmate(daemon: Daemon) -> str:
    """A pod with the defaults, and root inside."""
    daemon.apply(build_pod("inmate", "debian", "sleep", "infinity"))
    daemon.wait("pod/inmate", "condition=Ready")
    return "inmate"


def attempt(daemon: Daemon, pod: str, script: str) -> tuple[int, str]:
    """Exit code and all that was said."""
    done = daemon.kubectl("exec", pod, "-c", "c", "--", "bash", "-c", script, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("script", "said"),
    [
        # Masks and what is read-only.
        ("echo b > /proc/sysrq-trigger", "Read-only file system|No such file"),
        ("echo /x > /proc/sys/kernel/core_pattern", "Read-only file system"),
        ("echo f > /proc/irq/default_smp_affinity", "Read-only file system|No such file"),
        ("touch /sys/firmware/x", "Read-only file system"),
        (f"{_CGROUP} mkdir $d/x", "Read-only file system"),
        (f"{_CGROUP} echo 1 > $d/notify_on_release", "Read-only file system|denied|No such file"),
        (f"{_CGROUP} echo 0 > $d/cgroup.procs", "Read-only file system"),
        ("echo /x > /sys/kernel/uevent_helper", "Read-only file system"),
        ("[ $(head -c1 /proc/kcore | wc -c) -gt 0 ] || { echo empty; exit 1; }", "empty"),
        ("[ $(cat /proc/keys /proc/timer_list /proc/interrupts 2>&1 | wc -c) -gt 0 ] || { echo empty; exit 1; }", "empty"),
        ("[ -n \"$(ls -A /sys/firmware /proc/scsi /proc/acpi 2>/dev/null | grep -v ':$' | tr -d '\\n')\" ] "
         "|| { echo empty; exit 1; }", "empty"),
        # Mounts that would lift them.
        ("umount /proc/kcore", "ermission denied|must be superuser|not permitted"),
        ("mount -o remount,rw /sys", "ermission denied|must be superuser|not permitted"),
        ("mount -t proc proc /mnt", "ermission denied|must be superuser|not permitted"),
        ("unshare --user --map-root-user true", "Operation not permitted"),
        ("nsenter --target 1 --mount true", "Operation not permitted|ermission denied"),
        # Devices: a node may be made, and leads nowhere.
        ("mknod /tmp/mem c 1 1; head -c1 /tmp/mem", "Operation not permitted"),
        ("mknod /tmp/kmsg c 1 11; head -c1 /tmp/kmsg", "Operation not permitted"),
        (f"mknod /tmp/disk b {os.major(os.stat('/').st_dev)} {os.minor(os.stat('/').st_dev)}; head -c1 /tmp/disk",
         "Operation not permitted|No such device"),
        ("mknod /tmp/fuse c 10 229; exec 3<>/tmp/fuse", "Operation not permitted"),
        # Files of the daemon and of other pods.
        ("ls {socket}", "No such file or directory"),
        ("ls {data}", "No such file or directory"),
        ("ls /proc/1/root{data}", "No such file or directory"),
        ("grep podhost /proc/net/unix", ""),
        # The host's loopback, directly and by way of the gateway.
        ("exec 3<>/dev/tcp/127.0.0.1/{port}", "Connection refused"),
        ("exec 3<>/dev/tcp/$(awk '$2==\"00000000\" {{print $3}}' /proc/net/route | sed 's/\\(..\\)\\(..\\)\\(..\\)\\(..\\)/"
         "0x\\4 0x\\3 0x\\2 0x\\1/' | (read a b c d; echo $((a)).$((b)).$((c)).$((d))))/{port}", "Connection refused"),
    ],
)  # fmt: skip
def test_a_container_does_not_get_out(daemon: Daemon, inmate: str, script: str, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        places = {"{socket}": daemon.socket_path, "{data}": daemon.data_root, "{port}": server.getsockname()[1]}
        for name, value in places.items():
            script = script.replace(name, str(value))
        code, text = attempt(daemon, inmate, script.replace("{{", "{").replace("}}", "}"))
    assert code != 0, text
    assert any(word in text for word in said.split("|")), text


SYSTEM_CALLS = {
    **{"open_by_handle_at": 304, "bpf": 321, "perf_event_open": 298, "kexec_load": 246, "keyctl": 250, "setns": 308},
    **{"init_module": 175, "finit_module": 313, "mount": 165, "pivot_root": 155, "userfaultfd": 323, "reboot": 169},
    **{"swapon": 167, "settimeofday": 164, "add_key": 248, "fsopen": 430, "open_tree": 428, "move_mount": 429},
    **{"quotactl": 179, "io_uring_setup": 425},
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of system calls differ")
def test_system_calls_of_the_host_are_refused(daemon: Daemon, inmate: str) -> None:
    numbers = " ".join(map(str, SYSTEM_CALLS.values()))
    script = f"for (qw({numbers})) {{ $! = 0; $r = syscall($_+0, 0, 0, 0, 0, 0); print $r, q( ), $!+0, qq(\\n) }}"
    code, text = attempt(daemon, inmate, f"perl -e '{script}'")
    assert code == 0, text
    answers = dict(zip(SYSTEM_CALLS, text.splitlines(), strict=True))
    refused = {f"-1 {errno.EPERM}", f"-1 {errno.ENOSYS}"}
    assert {name: answer for name, answer in answers.items() if answer not in refused} == {}


def test_no_descriptor_of_the_daemon_or_the_monitor_is_in_a_container(daemon: Daemon, inmate: str) -> None:
    script = "ls -l /proc/1/fd /proc/self/fd | sed -n 's/.* -> //p'"
    _, text = attempt(daemon, inmate, script)
    targets = text.splitlines()
    assert targets
    # ls reads the directory; all else is stdio.  A command without input has a sealed file that is empty.
    stdio = ("pipe:", "/dev/null", "/proc/", "socket:", "/memfd:null (deleted)")
    strange = [each for each in targets if not each.startswith(stdio)]
    assert strange == []
    pids = daemon.container_pids()
    identity = container_status(daemon, "default", inmate)["containerID"].removeprefix("podhost://")
    assert sorted(path.name for path in Path(f"/proc/{pids[identity]}/fd").iterdir()) == ["0", "1", "2"]
    _, numbers = attempt(daemon, inmate, "echo /proc/$$/fd/*")
    assert {each.rpartition("/")[2] for each in numbers.split()} <= {"0", "1", "2", "3", "255"}, (
        "3 and 255 are bash's own"
    )


def test_annotations_that_runtimes_know_are_in_no_spec(daemon: Daemon) -> None:
    annotations = {
        "run.oci.handler": "wasm",
        "run.oci.hooks.stdout": "/tmp/out",
        "run.oci.mount_context_type": "context",
        "module.wasm.image/variant": "compat",
        "io.kubernetes.cri.untrusted-workload": "true",
        "io.kubernetes.cri-o.Devices": "/dev/sda:/dev/xvdc:rwm",
        "io.kubernetes.cri-o.userns-mode": "auto",
        "io.containerd.runc.v2.group": "x",
        "org.systemd.property.ExecStopPost": "'/bin/x'",
    }
    manifest = json.loads(build_pod("annotated", "debian", "sleep", "infinity"))
    manifest["metadata"]["annotations"] = annotations
    daemon.apply(json.dumps(manifest))
    daemon.wait("pod/annotated", "condition=Ready")
    identity = container_status(daemon, "default", "annotated")["containerID"].removeprefix("podhost://")
    specs = [path for path in daemon.run_root.rglob("config.json") if identity in str(path)]
    specs += [path for path in daemon.data_root.rglob("config.json") if identity in str(path)]
    assert specs
    for path in specs:
        assert not set(annotations) & set(json.loads(path.read_text()).get("annotations") or ())
    assert "debian" in attempt(daemon, "annotated", "cat /etc/os-release")[1].lower()


def with_volume(source: dict[str, Any]) -> dict[str, Any]:
    return {"volumes": [{"name": "v", **source}]}


def with_container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": "debian", **fields}], "volumes": [{"name": "v", "emptyDir": {}}]}


_ITEM = [{"key": "k", "path": "../x"}]
_FIELD = [{"path": "../x", "fieldRef": {"fieldPath": "metadata.name"}}]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (with_volume({"hostPath": {"path": "/a/../etc"}}), "hostPath.path"),
        (with_volume({"configMap": {"name": "m", "items": _ITEM}}), "items[0].path"),
        (with_volume({"secret": {"secretName": "m", "items": _ITEM}}), "items[0].path"),
        (with_volume({"downwardAPI": {"items": _FIELD}}), "downwardAPI.path"),
        (with_volume({"projected": {"sources": [{"configMap": {"name": "m", "items": _ITEM}}]}}), "items[0].path"),
        (with_volume({"projected": {"sources": [{"secret": {"name": "m", "items": _ITEM}}]}}), "items[0].path"),
        (with_volume({"projected": {"sources": [{"downwardAPI": {"items": _FIELD}}]}}), "downwardAPI.path"),
        (with_volume({"projected": {"sources": [{"serviceAccountToken": {"path": "../x"}}]}}), "Token.path"),
        (with_container(volumeMounts=[{"name": "v", "mountPath": "/x", "subPath": "../x"}]), "subPath"),
        (with_container(volumeMounts=[{"name": "v", "mountPath": "/x", "subPathExpr": "a/../../x"}]), "subPathExpr"),
        (
            with_container(
                env=[{"name": "A", "valueFrom": {"fileKeyRef": {"key": "K", "volumeName": "v", "path": "../x"}}}]
            ),
            "fileKeyRef.path",
        ),
        (
            with_container(
                securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": "../../etc/passwd"}}
            ),
            "localhostProfile",
        ),
    ],
)
def test_steps_upwards_in_a_path_are_refused_with_its_field(daemon: Daemon, spec: dict[str, Any], field: str) -> None:
    manifest = build_pod("climber", "debian", **spec)
    refused = daemon.kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest, check=False)
    assert refused.returncode == 1
    said = next(line for line in refused.stderr.splitlines() if NO_BACKSTEPS in line)
    assert field in said


def test_steps_upwards_that_kubernetes_allows_end_at_the_containers_root(daemon: Daemon) -> None:
    """mountPath, workingDir and terminationMessagePath are of the container."""
    name = f"podhost-escape-{uuid.uuid4().hex[:8]}"
    up = "/var/../../../../../.."
    spec = with_container(
        command=["bash", "-c", "pwd; echo said > $WORD; exec sleep infinity"],
        env=[{"name": "WORD", "value": f"/tmp/{name}-word"}],
        workingDir=up,
        terminationMessagePath=f"{up}/tmp/{name}-word",
        volumeMounts=[{"name": "v", "mountPath": f"{up}/tmp/{name}"}],
    )
    daemon.apply(build_pod("walker", "debian", **spec))
    daemon.wait("pod/walker", "condition=Ready")
    code, text = attempt(daemon, "walker", f"ls -d /tmp/{name}; pwd")
    assert (code, text.split()) == (0, [f"/tmp/{name}", "/"])
    assert not [str(path) for path in Path("/tmp").iterdir() if path.name.startswith(name)]
    daemon.kubectl("delete", "pod", "walker", "--now")


def test_links_and_variables_do_not_lead_a_sub_path_out_of_its_volume(daemon: Daemon) -> None:
    """Containers are to be given what links lead to, that others prepared; also while they are exchanged."""
    in_volume = [{"name": "v", "mountPath": "/v"}]
    prepare = "cd /v; ln -s / root; ln -s ../../../../../etc etc; ln -s /proc/1/root own"
    swap = "cd /v; while :; do ln -sfn / swap; rm -f swap; mkdir swap; rmdir swap; done"
    spec = with_container(command=["bash", "-c", swap], volumeMounts=in_volume)
    spec["initContainers"] = [
        {"name": "links", "image": "debian", "command": ["bash", "-c", prepare], "volumeMounts": in_volume}
    ]
    given = {"n0": "root", "n1": "etc", "n2": "own", "n3": "swap", "n4": "swap", "n5": "swap"}
    show = ["bash", "-c", "grep ' /m ' /proc/self/mountinfo; exec sleep infinity"]
    for name, path in given.items():
        mounts = [{"name": "v", "mountPath": "/m", "subPath": path}]
        spec["containers"].append({"name": name, "image": "debian", "command": show, "volumeMounts": mounts})
    env = [{"name": "UP", "value": "../.."}]
    mounts = [{"name": "v", "mountPath": "/m", "subPathExpr": "$(UP)"}]
    spec["containers"].append({"name": "up", "image": "debian", "env": env, "volumeMounts": mounts})
    daemon.apply(build_pod("linker", "debian", **spec))
    said = wait_for_waiting(daemon, "default", "linker", "CreateContainerConfigError", "up")
    assert NO_BACKSTEPS in said

    def outcomes() -> dict[str, str]:
        found = {}
        for name in given:
            status = container_status(daemon, "default", "linker", name)
            state = status.get("state") or {}
            waiting = (state.get("waiting") or {}).get("reason", "")
            found[name] = "runs" if "running" in state else waiting or json.dumps(status)
        return found if not {"PodInitializing", "ContainerCreating"} & set(found.values()) else {}

    def read_log(name: str) -> str:
        return daemon.kubectl("logs", "linker", "-c", name, check=False).stdout

    decided = wait_until(outcomes, what="all containers to be decided about")
    assert {decided[name] for name in ("n0", "n1", "n2")} == {"CreateContainerConfigError"}, decided
    # The others run or not, for a reason that depends on the moment: what was a directory may be removed before the
    # container starts.  A link is never what is mounted.
    for name in given:
        shown = read_log(name)
        if decided[name] == "runs":
            shown = wait_until(partial(read_log, name), what=f"{name} to tell its mount")
        # The fourth field is the mount's root within its file system.
        assert all("/kubernetes.io~empty-dir/v/swap" in line.split()[3] for line in shown.splitlines()), shown
    daemon.kubectl("delete", "pod", "linker", "--now")


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (make_tar(("../../{name}", b"x")), "leads out of the layer"),
        (make_tar(("a/../../{name}", b"x")), "leads out of the layer"),
        (make_tar(link("hard", "../../etc/passwd", tarfile.LNKTYPE)), ""),
        (make_tar(link("out", "/"), link("hard", "out/etc/passwd", tarfile.LNKTYPE)), ""),
    ],
)  # fmt: skip
def test_a_layer_that_climbs_out_is_refused(daemon: Daemon, registry: Registry, layer: bytes, said: str) -> None:
    repository = f"escape/{uuid.uuid4().hex[:8]}"
    registry.push_image(repository, "1", [layer])
    refused = daemon.podhost("image", "pull", f"{registry.host}/{repository}:1", check=False)
    assert refused.returncode == 1
    assert "cannot pull" in refused.stderr
    assert said in refused.stderr, refused.stderr


def test_a_layer_whose_links_lead_out_stays_in_its_own_directory(daemon: Daemon, registry: Registry) -> None:
    name = f"podhost-escape-{uuid.uuid4().hex[:8]}"
    repository = f"escape/{name}"
    layer = make_tar(link("tmp", "/tmp"), (f"tmp/{name}", b"x"), (f"/tmp/{name}-absolute", b"x"))
    registry.push_image(repository, "1", [layer])
    daemon.podhost("image", "pull", f"{registry.host}/{repository}:1")
    assert not [path.name for path in Path("/tmp").iterdir() if path.name.startswith(name)]


def test_an_account_has_no_way_to_the_tokens_and_secrets_of_others(daemon: Daemon, inmate: str) -> None:
    account = "--as=system:serviceaccount:default:default"
    for verb, resource in (
        *(("create", "serviceaccounts/token"), ("get", "secrets"), ("create", "pods"), ("create", "pods/exec")),
        ("impersonate", "users"),
    ):
        asked = daemon.kubectl("auth", "can-i", verb, resource, account, check=False)
        assert (asked.returncode, asked.stdout.strip()) == (1, "no"), resource
    refused = daemon.kubectl("create", "token", "default", account, check=False)
    assert "is forbidden" in refused.stderr
    tokens = {}
    for name in (inmate, "annotated"):
        path = "/var/run/secrets/kubernetes.io/serviceaccount/token"
        found = attempt(daemon, name, f"cat {path}; find / -xdev -path /proc -prune -o -name token -print")
        tokens[name] = found[1]
    assert tokens[inmate] != tokens["annotated"]


def test_the_daemons_sockets_are_reached_only_by_who_may_mount_host_paths(daemon: Daemon) -> None:
    """What docs/security.md says: a hostPath of the socket is root on the machine, so who makes pods is root."""
    mount = {"name": "v", "mountPath": "/podhost.sock"}
    spec = with_container(command=["sleep", "infinity"], volumeMounts=[mount])
    spec["volumes"] = [{"name": "v", "hostPath": {"path": str(daemon.socket_path), "type": "Socket"}}]
    daemon.apply(build_pod("trusted", "debian", **spec))
    daemon.wait("pod/trusted", "condition=Ready")
    assert attempt(daemon, "trusted", "test -S /podhost.sock")[0] == 0
    spec["volumes"][0]["hostPath"]["type"] = "Directory"
    daemon.apply(build_pod("wrong-type", "debian", **spec))
    assert wait_for_event(daemon, "default", "wrong-type", "FailedMount", "is not a directory")
    daemon.kubectl("delete", "pod", "trusted", "wrong-type", "--now")

"""Attacks on OCI runtimes, and on those who call them, that were published: they fail, and say on what."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.daemon import Daemon, running_daemon, wait_until
from harness.pods import wait_for_event
from registry import Registry, make_tar
from registry import registry as registry

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


@pytest.fixture(scope="module")
def daemon(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store) as running:
        yield running


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of the host that everybody on the host may read."""
    tmp_path.chmod(0o755)
    file = tmp_path / "precious"
    file.write_text(f"kept-{uuid.uuid4().hex}")
    return file


def apply(daemon: Daemon, name: str, containers: list[dict[str, Any]], **spec: Any) -> None:
    whole = {"terminationGracePeriodSeconds": 0, "restartPolicy": "Never", "containers": containers, **spec}
    daemon.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole}))


def find_end(daemon: Daemon, pod: str, name: str) -> str:
    """What became of a container: its log, or why there is none; empty while that is open."""
    statuses = daemon.pod(pod)["status"].get("containerStatuses") or []
    state: dict[str, Any] = next((each["state"] for each in statuses if each["name"] == name), {})
    if "terminated" in state:
        log = daemon.kubectl("logs", pod, "-c", name, check=False).stdout
        return f"{log}{state['terminated'].get('message', '')} exit {state['terminated']['exitCode']}"
    waiting = state.get("waiting") or {}
    return "" if waiting.get("reason") in (None, "ContainerCreating", "PodInitializing") else str(waiting)


def test_cve_2024_21626_no_working_directory_leads_through_a_descriptor_to_the_host(
    daemon: Daemon, registry: Registry, precious: Path
) -> None:
    """Of the pod or of the image, while the runtime has directories of the host open."""
    up = "/".join([".."] * 12)
    script = ["sh", "-c", f"cat {up}{precious} .{precious}; ls {up}{precious.parent}; pwd"]
    numbers = [*range(3, 13), "self", "../fd/7"]
    containers: list[dict[str, Any]] = [
        {"name": f"n{index}", "image": "debian", "command": script, "workingDir": f"/proc/self/fd/{number}"}
        for index, number in enumerate(numbers)
    ]
    layers = [make_tar(*list_directories("usr"), *LINKS)]
    for number in (7, 8, 9):
        repository = f"escape/{uuid.uuid4().hex[:8]}"
        registry.push_image(repository, "1", layers, config={"WorkingDir": f"/proc/self/fd/{number}"})
        of = {"name": f"i{number}", "image": f"{registry.host}/{repository}:1", "command": script}
        containers.append({**of, "volumeMounts": [{"name": "usr", "mountPath": "/usr", "readOnly": True}]})
    apply(daemon, "walker", containers, volumes=[{"name": "usr", "hostPath": {"path": "/usr"}}])
    for each in containers:
        end = wait_until(partial(find_end, daemon, "walker", each["name"]), what=f"the end of {each['name']}")
        assert precious.read_text() not in end, end
        assert precious.name not in end.replace(str(precious), ""), end
        assert "exit 0" not in end, end
    daemon.kubectl("delete", "pod", "walker", "--now")


TAKE_OVER = r"""
use Fcntl;
my $opened = 0;
$| = 1;
print "ready\n";
for (my $end = time + 6; time < $end;) {
    for my $exe (glob "/proc/[0-9]*/exe") {
        my $to = readlink $exe // "";
        next if $to =~ m{^/usr/bin/(perl|bash|dash|sleep)} or $to eq "";
        sysopen(my $fd, $exe, O_RDONLY) or next;
        my $number = fileno $fd;
        for (1 .. 200) { if (sysopen(my $out, "/proc/self/fd/$number", O_WRONLY)) { $opened++; syswrite $out, "#!/bin/false\n" } }
    }
}
print "opened $opened\n";
sleep 1000;
"""


def test_cve_2019_5736_a_container_cannot_write_to_the_runtime_that_enters_it(daemon: Daemon) -> None:
    programs = [Path(found) for name in ("crun", "runc", "conmon") if (found := shutil.which(name))]
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in programs}
    apply(daemon, "taker", [{"name": "c", "image": "debian", "command": ["perl", "-e", TAKE_OVER]}])

    def read_log() -> str:
        return daemon.kubectl("logs", "taker", check=False).stdout

    wait_until(lambda: "ready" in read_log(), what="the attacker")
    while "opened" not in read_log():
        daemon.kubectl("exec", "taker", "--", "/proc/self/exe", "--version", check=False)
    assert "opened 0\n" in read_log()
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in programs} == before
    daemon.kubectl("exec", "taker", "--", "true")
    daemon.kubectl("delete", "pod", "taker", "--now")


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def list_directories(*names: str) -> list[tarfile.TarInfo]:
    found = []
    for name in names:
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        found.append(info)
    return found


def device(name: str, kind: bytes, major: int, minor: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.devmajor, info.devminor = kind, 0o666, major, minor
    return info


LINKS = [link("bin", "usr/bin"), link("lib", "usr/lib"), link("lib64", "usr/lib64")]
"""With the host's programs at /usr, what an image needs to run them."""
IMAGES: dict[str, list[tarfile.TarInfo | tuple[str, bytes]]] = {
    "proc-link": [*list_directories("elsewhere"), link("proc", "elsewhere")],
    "proc-root": [link("proc", "/")],
    "proc-file": [("proc", b"x")],
    "sys-proc": [link("sys", "proc/sys")],
    "dev-proc": [link("dev", "proc/sys/kernel")],
    "dev-null": [*list_directories("dev"), link("dev/null", "/proc/sys/kernel/core_pattern")],
    "etc-proc": [link("etc", "proc/sys/kernel")],
    "hosts": [*list_directories("etc"), link("etc/hosts", "../proc/sys/kernel/core_pattern")],
    "resolver": [*list_directories("etc"), link("etc/resolv.conf", "../../../../../../../../{precious}")],
    "run-proc": [link("var", "proc/sys"), link("run", "proc/sys")],
    "memory": [*list_directories("d"), device("d/mem", tarfile.CHRTYPE, 1, 1), device("d/kmsg", tarfile.CHRTYPE, 1, 11)],
}  # fmt: skip
TRY = """
for f in /proc/sys/kernel/core_pattern /dev/core_pattern /etc/core_pattern /etc/hosts /dev/null; do echo '|/x' > $f; done
[ $(head -c1 /proc/kcore | wc -c) = 0 ] || echo UNMASKED
cat {precious} /etc/resolv.conf
for d in /d/mem /d/kmsg; do head -c1 $d && echo OPENED; done
exit 3
"""


def test_what_an_image_has_in_the_place_of_proc_sys_and_dev_leads_nowhere(
    daemon: Daemon, registry: Registry, precious: Path
) -> None:
    """CVE-2019-19921, 2023-27561, 2025-31133, 2025-52565, 2025-52881: links where mounts, masks and devices go."""
    before = CORE_PATTERN.read_text()
    containers: list[dict[str, Any]] = []
    for name, members in IMAGES.items():
        for each in members:
            if isinstance(each, tarfile.TarInfo):
                each.linkname = each.linkname.replace("{precious}", str(precious).lstrip("/"))
        repository = f"escape/{uuid.uuid4().hex[:8]}"
        registry.push_image(repository, "1", [make_tar(*list_directories("usr"), *LINKS, *members)])
        containers.append({
            "name": name, "image": f"{registry.host}/{repository}:1",
            "command": ["bash", "-c", TRY.replace("{precious}", str(precious))],
            "volumeMounts": [{"name": "usr", "mountPath": "/usr", "readOnly": True}],
        })  # fmt: skip
    try:
        apply(daemon, "images", containers, volumes=[{"name": "usr", "hostPath": {"path": "/usr"}}])
        ends = {
            each["name"]: wait_until(partial(find_end, daemon, "images", each["name"]), what=each["name"])
            for each in containers
        }
        assert CORE_PATTERN.read_text() == before
    finally:
        CORE_PATTERN.write_text(before)
    for name, end in ends.items():
        assert precious.read_text() not in end, (name, end)
        assert "UNMASKED" not in end, (name, end)
        assert "OPENED" not in end, (name, end)
        # It ran into what keeps it in, or did not run for a reason that is told.
        assert end.endswith("exit 3") or len(end) > len("exit 128"), (name, end)
    assert "exit 3" in ends["memory"], ends["memory"]
    assert precious.read_text().startswith("kept-")
    daemon.kubectl("delete", "pod", "images", "--now")


def test_cve_2022_23648_a_volume_of_the_image_copies_nothing_from_the_host(
    daemon: Daemon, registry: Registry, precious: Path
) -> None:
    repository = f"escape/{uuid.uuid4().hex[:8]}"
    up = "/".join([".."] * 8)
    volumes: dict[str, Any] = {
        f"/{up}{precious.parent}": {},
        f"/out{precious.parent}": {},
        "/proc/1/root/etc": {},
        "/out": {},
    }
    layer = make_tar(*list_directories("usr"), *LINKS, link("out", "/".join([".."] * 8) + "/"))
    registry.push_image(repository, "1", [layer], config={"Volumes": volumes})
    script = f"cat {precious} /out{precious}; find / -xdev -name {precious.name}; cat /proc/1/root/etc/shadow; exit 3"
    apply(
        daemon,
        "volumes",
        [{
            "name": "c", "image": f"{registry.host}/{repository}:1", "command": ["bash", "-c", script],
            "volumeMounts": [{"name": "usr", "mountPath": "/usr", "readOnly": True}],
        }],
        volumes=[{"name": "usr", "hostPath": {"path": "/usr"}}],
    )  # fmt: skip
    end = wait_until(partial(find_end, daemon, "volumes", "c"), what="the end")
    assert precious.read_text() not in end
    assert "root:" not in end
    daemon.kubectl("delete", "pod", "volumes", "--now")


def test_cve_2022_0811_more_sysctls_in_the_value_of_one_are_no_sysctls(daemon: Daemon) -> None:
    before = CORE_PATTERN.read_text()
    name = "net.ipv4.ip_unprivileged_port_start"
    containers = [{"name": "c", "image": "debian", "command": ["true"]}]
    try:
        context = {"sysctls": [{"name": name, "value": "80+kernel.core_pattern=|/x"}]}
        apply(daemon, "values", containers, securityContext=context)
        assert "Invalid argument" in wait_for_event(daemon, "default", "values", "FailedCreatePodSandBox")
        assert CORE_PATTERN.read_text() == before
    finally:
        CORE_PATTERN.write_text(before)
    daemon.kubectl("delete", "pod", "values", "--now")


def test_cve_2020_15257_no_socket_of_the_host_network_is_the_monitors(daemon: Daemon) -> None:
    """Who has the host's network may connect to all abstract sockets, whatever its file system."""
    container = {"name": "c", "image": "debian", "command": ["sleep", "1000"]}
    apply(daemon, "net", [container], hostNetwork=True)
    daemon.wait("pod/net", "condition=Ready")
    lines = daemon.kubectl("exec", "net", "--", "cat", "/proc/net/unix").stdout.splitlines()[1:]
    inodes = {line.split()[6]: line.split()[7] for line in lines if len(line.split()) > 7 and line.split()[7][0] == "@"}
    owners = [daemon.process.pid] if daemon.process is not None else []
    owners += [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and is_monitor(path)]
    assert len(owners) > 1
    held = {str(fd.readlink()) for owner in owners for fd in Path(f"/proc/{owner}/fd").iterdir() if fd.is_symlink()}
    assert {name for inode, name in inodes.items() if f"socket:[{inode}]" in held} == set()
    daemon.kubectl("delete", "pod", "net", "--now")


def is_monitor(process: Path) -> bool:
    try:
        return (process / "comm").read_text().strip() == "conmon"
    except OSError:
        return False


def test_links_that_a_pod_leaves_in_a_claim_give_the_next_ones_group_nothing(daemon: Daemon, precious: Path) -> None:
    """The daemon gives a claim's files to ``fsGroup``, as root."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    document = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "kept"}, "spec": claim}
    daemon.apply(json.dumps(document))
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "kept"}}]
    script = f"cd /d; ln -s {precious} file; ln -s {precious.parent} dir; ln -s / root; mkfifo pipe; touch own"
    mount = [{"name": "d", "mountPath": "/d"}]
    first = {"name": "c", "image": "debian", "command": ["bash", "-c", script], "volumeMounts": mount}
    apply(daemon, "leaves", [first], volumes=volumes)
    daemon.wait("pod/leaves", "jsonpath={.status.phase}=Succeeded")
    second = {**first, "command": ["stat", "-c", "%n %g", "/d", "/d/own", "/d/file", "/d/pipe"]}
    apply(daemon, "takes", [second], volumes=volumes, securityContext={"fsGroup": 4242})
    daemon.wait("pod/takes", "jsonpath={.status.phase}=Succeeded")
    words = daemon.kubectl("logs", "takes").stdout.split()
    assert set(words[1::2]) == {"4242"}, "the links themselves are given"
    assert [path.stat().st_gid for path in (precious, precious.parent, Path("/"))] == [0, 0, 0]
    daemon.kubectl("delete", "pod", "leaves", "takes", "--now")
    daemon.kubectl("delete", "pvc", "kept")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"kind": "ConfigMap", "data": {"..": "x"}}, 'data[..]: Invalid value: ".."'),
        ({"kind": "ConfigMap", "data": {"..data": "x"}}, 'data[..data]: Invalid value: "..data"'),
        ({"kind": "ConfigMap", "binaryData": {"a/../../x": "eA=="}}, "binaryData[a/../../x]: Invalid value"),
        ({"kind": "Secret", "data": {"../x": "eA=="}}, 'data[../x]: Invalid value: "../x"'),
        ({"kind": "Pod", "metadata": {"name": "..", "namespace": "default"}}, "metadata.name"),
        ({"kind": "Pod", "metadata": {"name": "a/../b", "namespace": "default"}}, "metadata.name"),
        ({"kind": "Pod", "spec": {"containers": [{"name": "../c", "image": "i"}]}}, "spec.containers[0].name"),
        ({"kind": "Pod", "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "..", "emptyDir": {}}]}},
         "spec.volumes[0].name"),
    ],
)  # fmt: skip
def test_names_that_become_names_of_files_are_refused(daemon: Daemon, document: dict[str, Any], said: str) -> None:
    spec = {"spec": {"containers": [{"name": "c", "image": "i"}]}} if document["kind"] == "Pod" else {}
    whole = {"apiVersion": "v1", "metadata": {"name": "n"}, **spec, **document}
    path = {"ConfigMap": "configmaps", "Secret": "secrets", "Pod": "pods"}[document["kind"]]
    words = ("create", "--raw", f"/api/v1/namespaces/default/{path}?dryRun=All", "-f", "-")
    refused = daemon.kubectl(*words, stdin=json.dumps(whole), check=False)
    assert refused.returncode == 1
    assert said in refused.stderr

"""What a container may do: capabilities, privileges, system calls, its root file system, its user."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.covers import covers
from harness.daemon import Daemon
from harness.pods import build_pod, find_events, wait_for_waiting
from podhost.linux.security_modules import has_apparmor

NET_BIND_SERVICE = 1 << 10
SECCOMP_DIR = Path("/var/lib/kubelet/seccomp")
NO_MKDIR = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
}


@pytest.fixture
def seccomp_profile() -> Iterator[str]:
    """Name of a profile on the host that refuses to make directories."""
    name = f"podhost-test-{uuid.uuid4().hex[:8]}.json"
    made = [path for path in (SECCOMP_DIR, *SECCOMP_DIR.parents) if not path.exists()]
    SECCOMP_DIR.mkdir(parents=True, exist_ok=True)
    (SECCOMP_DIR / name).write_text(json.dumps(NO_MKDIR))
    yield name
    (SECCOMP_DIR / name).unlink()
    for path in made:
        path.rmdir()


def _container(name: str, script: str = "sleep infinity", **context: Any) -> dict[str, Any]:
    return {"name": name, "image": "debian", "command": ["bash", "-c", script], "securityContext": context}


def _apply(daemon: Daemon, namespace: str, name: str, *containers: dict[str, Any], **context: Any) -> None:
    spec = {"terminationGracePeriodSeconds": 1, "securityContext": context, "containers": list(containers)}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))


def _process(daemon: Daemon, namespace: str, pod: str, container: str) -> dict[str, str]:
    """``/proc/1/status`` of a container."""
    text = daemon.kubectl("exec", "-n", namespace, pod, "-c", container, "--", "cat", "/proc/1/status").stdout
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def _run(daemon: Daemon, namespace: str, pod: str, container: str, script: str) -> str:
    command = ("exec", "-n", namespace, pod, "-c", container, "--", "bash", "-c", script)
    done = daemon.kubectl(*command, check=False)
    return done.stdout + done.stderr


@covers(
    "Capabilities.add", "Capabilities.drop", "Container.securityContext", "PodSecurityContext.seccompProfile",
    "SeccompProfile.localhostProfile", "SeccompProfile.type", "SecurityContext.allowPrivilegeEscalation",
    "SecurityContext.capabilities", "SecurityContext.privileged", "SecurityContext.readOnlyRootFilesystem",
    "SecurityContext.seccompProfile",
)  # fmt: skip
def test_a_container_may_do_what_its_context_says(daemon: Daemon, namespace: str, seccomp_profile: str) -> None:
    _apply(
        daemon, namespace, "p",
        _container("plain"),
        _container("few", capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
        _container("all", privileged=True),
        _container("frozen", readOnlyRootFilesystem=True, allowPrivilegeEscalation=False),
        _container("open", seccompProfile={"type": "Unconfined"}),
        _container("own", seccompProfile={"type": "Localhost", "localhostProfile": seccomp_profile}),
    )  # fmt: skip
    _apply(daemon, namespace, "q", _container("c"), seccompProfile={"type": "Unconfined"})
    absent = {"type": "Localhost", "localhostProfile": f"no/{seccomp_profile}"}
    _apply(daemon, namespace, "r", _container("c", seccompProfile=absent))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/p", "pod/q", "--timeout=40s")
    seen = {name: _process(daemon, namespace, "p", name) for name in ("plain", "few", "all", "frozen", "open", "own")}
    effective = {name: int(process["CapEff"], 16) for name, process in seen.items()}
    assert effective["few"] == NET_BIND_SERVICE
    assert effective["few"] < effective["plain"] < effective["all"]
    host = Path("/proc/self/status").read_text().partition("CapPrm:")[2].split()[0]
    assert effective["all"] == int(host, 16)
    filtered = {name: process["Seccomp"] for name, process in seen.items()}
    assert filtered == {"plain": "2", "few": "2", "all": "0", "frozen": "2", "open": "0", "own": "2"}
    assert _process(daemon, namespace, "q", "c")["Seccomp"] == "0"
    assert {name for name, process in seen.items() if process["NoNewPrivs"] == "1"} == {"frozen"}
    assert "Read-only file system" in _run(daemon, namespace, "p", "frozen", "touch /file")
    assert _run(daemon, namespace, "p", "plain", "touch /file && echo made") == "made\n"
    assert "Operation not supported" in _run(daemon, namespace, "p", "own", "mkdir /directory")
    path = SECCOMP_DIR / "no" / seccomp_profile
    said = wait_for_waiting(daemon, namespace, "r", "CreateContainerError")
    cause = f'cannot load seccomp profile "{path}": open {path}: no such file or directory'
    assert said == f"failed to generate spec: {cause}"


@covers(
    "PodSecurityContext.runAsNonRoot", "SecurityContext.runAsGroup", "SecurityContext.runAsNonRoot",
    "SecurityContext.runAsUser",
)  # fmt: skip
def test_a_container_that_must_not_be_root_does_not_run_as_root(daemon: Daemon, namespace: str) -> None:
    _apply(daemon, namespace, "pod", _container("c"), runAsNonRoot=True)
    _apply(daemon, namespace, "own", _container("c", runAsNonRoot=True, runAsUser=0))
    _apply(daemon, namespace, "user", _container("c", runAsNonRoot=True, runAsUser=1234, runAsGroup=55))
    text = "container has runAsNonRoot and image will run as root"
    assert wait_for_waiting(daemon, namespace, "pod", "CreateContainerConfigError").startswith(text)
    broken = wait_for_waiting(daemon, namespace, "own", "CreateContainerConfigError")
    assert broken.startswith("container's runAsUser breaks non-root policy")
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/user", "--timeout=40s")
    assert _run(daemon, namespace, "user", "c", "id -u; id -g") == "1234\n55\n"


def test_an_apparmor_profile_confines_where_the_kernel_has_them_and_is_warned_of_elsewhere(
    daemon: Daemon, namespace: str
) -> None:
    profile = {"appArmorProfile": {"type": "RuntimeDefault"}}
    container = _container("c") | {"securityContext": profile}
    manifest = build_pod("p", "", containers=[container], securityContext=profile)
    said = daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest).stderr
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/p", "--timeout=40s")
    told = [message for _, reason, message in find_events(daemon, namespace, "p") if reason == "FieldNotHonoured"]
    if has_apparmor():
        assert _run(daemon, namespace, "p", "c", "cat /proc/1/attr/current") == "podhost-default (enforce)\n"
        assert (said, told) == ("", [])
        return
    text = "AppArmor is not enabled on the host; containers run without the profile"
    fields = ("spec.securityContext.appArmorProfile", "spec.containers[0].securityContext.appArmorProfile")
    assert said.splitlines() == [f"Warning: {field}: {text}" for field in fields]
    assert told == [f"{', '.join(fields)}: {text}"]

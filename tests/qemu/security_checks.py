"""AppArmor and SELinux, whichever the guest's kernel has.  Registers its checks with those of ``checks.py``."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from guest import (
    build_pod,
    check,
    container_status,
    kubectl,
    main_process,
    pod,
    podhost,
    run,
    running_pod,
    unit,
    wait_until,
)

SELINUX = Path("/sys/fs/selinux/enforce")
ENABLED = Path("/sys/module/apparmor/parameters/enabled")
LOADED = Path("/sys/kernel/security/apparmor/profiles")
KEY = "container.apparmor.security.beta.kubernetes.io/main"
WRITE = "echo x > /proc/uptime"
"""Root may open it, and gets an input/output error; only the profile denies it."""
NO_WRITES = """
#include <tunables/global>
profile no-writes flags=(attach_disconnected) {
  #include <abstractions/base>
  file,
  deny /tmp/** w,
}
"""


def apparmor_check(function: Callable[[], None]) -> Callable[[], None]:
    """For boots without ``--selinux``: a kernel has one of the two."""
    return function if SELINUX.exists() else check()(function)


def selinux_check(function: Callable[[], None]) -> Callable[[], None]:
    return check()(function) if SELINUX.exists() else function


def start() -> None:
    """The checks before these may have stopped it."""
    run("systemctl", "start", "podhost")
    podhost("kubeconfig")


def confinement(name: str) -> str:
    """What the kernel says of a container's first process."""
    identity = container_status(name)["containerID"].removeprefix("podhost://")
    return Path(f"/proc/{main_process(identity)}/attr/current").read_text().strip("\0\n")


def tries(name: str, script: str) -> str:
    return kubectl("exec", name, "--", "sh", "-c", f"({script}) 2>&1; true").strip()


def waiting_message(name: str, reason: str) -> str:
    def read() -> str:
        waiting = (pod(name)["status"].get("containerStatuses") or [{}])[0].get("state", {}).get("waiting", {})
        return str(waiting.get("message", "")) if waiting.get("reason") == reason else ""

    return str(wait_until(read, f"{reason} of {name}"))


@contextlib.contextmanager
def loaded(text: str) -> Iterator[None]:
    run("apparmor_parser", "-Kr", stdin=text)
    try:
        yield
    finally:
        run("apparmor_parser", "-R", stdin=text)


@apparmor_check
def apparmor_confines_containers_by_default() -> None:
    assert ENABLED.read_text().startswith("Y"), "this kernel has no AppArmor; the check shows nothing"
    start()
    with running_pod("confined", "sleep 1000"):
        assert confinement("confined") == "podhost-default (enforce)"
        assert tries("confined", "cat /proc/self/attr/current") == "podhost-default (enforce)", (
            "an exec is confined too"
        )
        assert tries("confined", "echo here > /tmp/file && cat /tmp/file") == "here"
        said = tries("confined", WRITE)
        assert "ermission denied" in said, said
        said = tries("confined", "sleep 100 & kill $! && echo killed")
        assert said == "killed", said
    capable = {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}, "seccompProfile": {"type": "Unconfined"}}}
    script = "mkdir -p /tmp/m && mount -t tmpfs none /tmp/m && echo mounted"
    with running_pod("capable", "sleep 1000", container=capable):
        assert "mounted" not in tries("capable", script)
    capable["securityContext"] |= {"appArmorProfile": {"type": "Unconfined"}}
    with running_pod("free", "sleep 1000", container=capable):
        assert confinement("free") == "unconfined"
        assert tries("free", script) == "mounted"
        said = tries("free", WRITE)
        assert "ermission denied" not in said, said


@apparmor_check
def apparmor_leaves_privileged_containers_alone() -> None:
    start()
    with running_pod("mighty", "sleep 1000", container={"securityContext": {"privileged": True}}):
        assert confinement("mighty") == "unconfined"


@apparmor_check
def apparmor_profiles_of_the_host_are_used_by_name() -> None:
    start()
    own = {"appArmorProfile": {"type": "Localhost", "localhostProfile": "no-writes"}}
    with loaded(NO_WRITES):
        with running_pod("named", "sleep 1000", container={"securityContext": own}):
            assert confinement("named") == "no-writes (enforce)"
            assert "ermission denied" in tries("named", "echo here > /tmp/file")
        said = _apply_annotated("noted", "localhost/no-writes")
        kubectl("wait", "--for=condition=Ready", "pod/noted", "--timeout=150s")
        assert 'deprecated since v1.30; use the "appArmorProfile" field instead' in said, said
        assert confinement("noted") == "no-writes (enforce)"
        kubectl("delete", "pod", "noted", "--timeout=60s")
    kubectl("apply", "-f", "-", stdin=build_pod("absent", "sleep 1000", container={"securityContext": own}))
    message = waiting_message("absent", "CreateContainerError")
    assert message.endswith("apparmor profile not found no-writes"), message
    # It is tried again, and starts once the profile is there.
    with loaded(NO_WRITES):
        kubectl("wait", "--for=condition=Ready", "pod/absent", "--timeout=150s")
        kubectl("delete", "pod", "absent", "--timeout=60s")


def _apply_annotated(name: str, value: str) -> str:
    """What kubectl says, warnings included."""
    document = build_pod(name, "sleep 1000").replace(
        '"metadata": {', f'"metadata": {{"annotations": {{"{KEY}": "{value}"}}, '
    )
    return run("sh", "-c", "kubectl apply -f - 2>&1", stdin=document)


RUNC = """
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: runc}
handler: runc
"""


@apparmor_check
def apparmor_confines_under_runc_and_in_a_user_namespace() -> None:
    start()
    kubectl("apply", "-f", "-", stdin=RUNC)
    with running_pod("by-runc", "sleep 1000", runtimeClassName="runc", shareProcessNamespace=True):
        assert confinement("by-runc") == "podhost-default (enforce)"
        assert tries("by-runc", "cat /proc/self/attr/current") == "podhost-default (enforce)"
    with running_pod("mapped", "sleep 1000", hostUsers=False, automountServiceAccountToken=False):
        assert confinement("mapped") == "podhost-default (enforce)"


@check(v2_only=True)
def privileged_containers_leave_the_mount_options_of_cgroups_alone() -> None:
    start()

    def options() -> set[str]:
        (line,) = [
            line for line in Path("/proc/1/mounts").read_text().splitlines() if " /sys/fs/cgroup cgroup2 " in line
        ]
        return set(line.split()[3].split(",")) & {"nsdelegate", "memory_recursiveprot"}

    before = options()
    assert before, "systemd has set none; the check shows nothing"
    kubectl("apply", "-f", "-", stdin=RUNC)
    container = {"securityContext": {"privileged": True}}
    for runtime_class in ({}, {"runtimeClassName": "runc"}):
        with running_pod("mighty", "sleep 1000", container=container, **runtime_class):
            assert "cgroup2" in tries("mighty", "grep /sys/fs/cgroup /proc/self/mounts")
            assert options() == before, f"{runtime_class or 'crun'}: {options()}, not {before}"


@apparmor_check
def apparmor_profile_is_loaded_again_when_it_is_gone() -> None:
    start()
    run("sh", "-c", "printf podhost-default > /sys/kernel/security/apparmor/.remove")
    assert "podhost-default" not in LOADED.read_text()
    with running_pod("again", "sleep 1000"):
        assert confinement("again") == "podhost-default (enforce)"


@apparmor_check
def apparmor_pods_live_on_when_the_daemon_is_restarted() -> None:
    start()
    with running_pod("patient", "sleep 1000"):
        run("systemctl", "restart", "podhost")
        wait_until(lambda: unit("ActiveState") == "active", "the daemon's start")
        assert confinement("patient") == "podhost-default (enforce)"
        assert tries("patient", "echo here") == "here"
    assert "AppArmor" in podhost("doctor", ok=False)


def file_label(name: str, path: str) -> str:
    """As the host sees it: programs in a container think that there is no SELinux."""
    identity = container_status(name)["containerID"].removeprefix("podhost://")
    found: bytes = os.getxattr(f"/proc/{main_process(identity)}/root{path}", "security.selinux")
    return found.decode().strip("\0")


def expect(found: str, wanted: str, of_what: str) -> None:
    assert re.fullmatch(wanted, found), f"{of_what}: {found}, not {wanted}"


@selinux_check
def selinux_labels_are_those_that_the_pod_asks_for() -> None:
    start()
    volumes = [{"name": "work", "emptyDir": {}}]
    mounts = {"volumeMounts": [{"name": "work", "mountPath": "/work"}]}
    context = {"seLinuxOptions": {"level": "s0:c3,c4"}}
    script = "touch /work/made; sleep 1000"
    with running_pod("labelled", script, securityContext=context, volumes=volumes, container=mounts):
        own, files = "system_u:system_r:container_t:s0:c3,c4", "system_u:object_r:container_file_t:s0:c3,c4"
        expect(confinement("labelled"), own, "the process")
        expect(tries("labelled", "cat /proc/self/attr/current").strip("\0"), own, "an exec")
        for path in ("/bin/ls", "/work", "/etc/hosts", "/dev/shm", "/dev"):
            expect(file_label("labelled", path), files, path)
    container = {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}
    with running_pod("typed", "sleep 1000", container=container):
        expect(confinement("typed"), r"system_u:system_r:spc_t:s0:c\d+,c\d+", "the type and the pod's own categories")
    with running_pod("plain", "sleep 1000"):
        daemon = Path(f"/proc/{unit('MainPID')}/attr/current").read_text().strip("\0\n")
        expect(confinement("plain"), re.escape(daemon), "without options")


@selinux_check
def selinux_labels_that_cannot_be_stop_the_container() -> None:
    start()
    options = {"securityContext": {"seLinuxOptions": {"level": "c1"}}}
    kubectl("apply", "-f", "-", stdin=build_pod("wrong", "sleep 1000", container=options))
    message = waiting_message("wrong", "CreateContainerError")
    assert message.endswith("the format of 'level' \"c1\" is not correct"), message
    kubectl("delete", "pod", "wrong", "--timeout=60s")
    options = {"securityContext": {"seLinuxOptions": {"type": "nobody_t"}}}
    kubectl("apply", "-f", "-", stdin=build_pod("unknown", "sleep 1000", container=options))
    message = waiting_message("unknown", "CreateContainerError")
    assert re.search(r'policy does not know the label "system_u:system_r:nobody_t:s0:c\d+,c\d+"$', message), message
    kubectl("delete", "pod", "unknown", "--timeout=60s")

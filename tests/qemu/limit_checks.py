"""Checks of what pods may use: classes, weights, limits, their change in place, users and images; and rest.

``checks.py`` registers them, in the order of ``LIMIT_CHECKS``, while the unit's daemon runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guest import (
    CGROUPS,
    PODS,
    SLOW,
    container_cgroup,
    container_pids,
    container_status,
    kubectl,
    pod,
    read_values,
    run,
    running_pod,
    unit,
    wait_until,
)


def classes_of_pods_share_the_processors() -> None:
    sizes = {"sure": {"limits": {"cpu": "100m", "memory": "32Mi"}}, "some": {"requests": {"cpu": "250m"}}, "none": {}}
    cores = os.cpu_count() or 1
    assert read_values(CGROUPS / "podhost", "cpu.weight") == [str({1: 100, 2: 174}[cores])]
    assert read_values(PODS, "cpu.weight") == [str({1: 100, 2: 174}[cores])]
    with contextlib.ExitStack() as stack:
        for name, resources in sizes.items():
            stack.enter_context(running_pod(name, "sleep 1000", resources=resources))
        for name, weight in (("sure", "17"), ("some", "35"), ("none", "1")):
            group = container_cgroup(name)
            assert (group / "cgroup.procs").read_text().split(), f"{group} has no process"
            assert read_values(group, "cpu.weight") == read_values(group.parent, "cpu.weight") == [weight], name
        # mc1 and mc3 ask for nothing.
        assert read_values(PODS / "besteffort", "cpu.weight") == ["1"]
        wait_until(lambda: read_values(PODS / "burstable", "cpu.weight") == ["35"], "the weight of burstable pods", 20)
        unset = read_values(PODS / "burstable", "memory.max", "memory.high", "memory.min", "memory.low")
        assert unset == ["max", "max", "0", "0"], unset
    wait_until(lambda: read_values(PODS / "burstable", "cpu.weight") == ["1"], "the weight of no pod", 20)


def a_resize_in_place_reaches_the_kernel() -> None:
    resources = {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}
    files = ("cpu.weight", "cpu.max", "memory.max", "memory.swap.max")
    with running_pod("sized", "sleep 1000", resources=resources):
        group, pid = container_cgroup("sized"), container_pids()["sized/main"]
        for cpu, memory, weight in (("500m", "128Mi", "59"), ("100m", "48Mi", "17")):
            wanted = {"requests": {"cpu": cpu}, "limits": {"cpu": cpu, "memory": memory}}
            patch = {"spec": {"containers": [{"name": "main", "resources": wanted}]}}
            kubectl("patch", "pod", "sized", "--subresource", "resize", "-p", json.dumps(patch))
            values = [weight, f"{cpu[:-1]}00 100000", str(int(memory[:-2]) << 20)]
            both = [*values, "0"], [*values, "max"]

            def is_written(both: tuple[list[str], list[str]] = both) -> bool:
                return (read_values(group, *files), read_values(group.parent, *files)) == both

            wait_until(is_written, f"{both} in container and pod", 30)
        assert container_pids()["sized/main"] == pid
        assert container_status("sized")["restartCount"] == 0


def limits_are_applied() -> None:
    resources = {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}
    with running_pod("limited", "sleep 1000", resources=resources):
        group = container_cgroup("limited")
        seen = {name: (group / name).read_text().strip() for name in ("memory.max", "cpu.max", "cpu.weight")}
        assert seen == {"memory.max": str(64 << 20), "cpu.max": "20000 100000", "cpu.weight": "17"}, seen
        whole = {name: (group.parent / name).read_text().strip() for name in seen}
        assert whole == seen, whole
        assert (group / "memory.oom.group").read_text().strip() == "1"
        assert (group / "pids.max").read_text().strip() == "max"
        inside = kubectl("exec", "limited", "--", "cat", "/sys/fs/cgroup/memory.max").strip()
        assert inside == str(64 << 20), inside
        stats = json.loads(kubectl("get", "podstats", "limited", "-o", "json"))["containers"][0]
        assert stats["pids"] == 1, stats
        assert "io" in stats, stats
        assert int(stats["memory"]["workingSetBytes"]) > 0, stats
        assert kubectl("top", "pod", "limited", "--no-headers").split()[0] == "limited"
        # systemd rewrites the controllers of its own cgroups; ours must stay as they are.
        run("systemctl", "daemon-reload")
        run("systemd-run", "--wait", "-p", "CPUWeight=50", "-p", "MemoryMax=100M", "true")
        assert (group / "memory.max").read_text().strip() == str(64 << 20)
    assert not group.parent.exists(), f"{group.parent} is left"


EAT = "head -c 200M /dev/zero | tail; sleep 1000"


def an_oom_kill_is_reported_of_the_container_that_died() -> None:
    """By a limit of its own, and by one that it shares: it dies whole, and its neighbour goes on."""
    modest = {"name": "modest", "image": "debian", "command": ["bash", "-c", "sleep 1000 & wait"]}
    own = {"resources": {"limits": {"memory": "32Mi"}}}
    shared = {"resources": {"limits": {"memory": "48Mi"}}}
    for name, container, spec in (("hungry", own, {}), ("crowded", {}, shared)):
        killed = "jsonpath={.status.containerStatuses[0].state.terminated.reason}=OOMKilled"
        with running_pod(name, EAT, until=killed, container=container, more=[modest], restartPolicy="Never", **spec):
            found = {status["name"]: status for status in pod(name)["status"]["containerStatuses"]}
            ended = found["main"]["state"]["terminated"]
            assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137), ended
            assert "running" in found["modest"]["state"], found["modest"]
            assert found["modest"]["restartCount"] == 0


def exec_works_and_leaves_no_cgroup() -> None:
    with running_pod("plain", "sleep 1000"):
        group = container_cgroup("plain")
        assert kubectl("exec", "plain", "--", "cat", "/proc/self/cgroup").startswith("0::/exec-")
        assert (group / "cgroup.type").read_text().strip() == "domain"
        assert kubectl("exec", "-i", "plain", "--", "cat", stdin="through stdin") == "through stdin"
        failing = subprocess.run(["kubectl", "exec", "plain", "--", "sh", "-c", "exit 7"], check=False, timeout=SLOW)
        assert failing.returncode == 7, failing.returncode
        wait_until(lambda: not [path for path in group.iterdir() if path.is_dir()], "cgroups of execs to go", 10)
        assert len((group / "cgroup.procs").read_text().split()) == 1


def a_shared_process_namespace_works() -> None:
    with running_pod("shared", "sleep 1000", shareProcessNamespace=True):
        assert "catatonit" in kubectl("exec", "shared", "--", "cat", "/proc/1/cmdline")


def a_privileged_pod_works() -> None:
    container = {"securityContext": {"privileged": True}}
    with running_pod("mighty", "sleep 1000", container=container):
        kubectl("exec", "mighty", "--", "sh", "-c", "mkdir /tmp/m && mount -t tmpfs none /tmp/m && test -e /dev/vda")


def an_image_is_a_volume() -> None:
    container = {"volumeMounts": [{"name": "web", "mountPath": "/web"}]}
    volumes = [{"name": "web", "image": {"reference": "nginx", "pullPolicy": "Never"}}]
    with running_pod(
        "carrier", "test -e /web/etc/nginx/nginx.conf && sleep 1000", container=container, volumes=volumes
    ):
        refused = run("kubectl", "exec", "carrier", "--", "sh", "-c", "touch /web/x; echo $?")
        assert refused.strip() != "0", refused


def a_pod_has_users_of_its_own() -> None:
    """``hostUsers: false``: root inside is nobody outside, limits hold, files in volumes are root's inside."""
    container = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volumes: list[dict[str, Any]] = [{"name": "data", "emptyDir": {}}]
    limits = {"limits": {"memory": "64Mi", "cpu": "100m"}}
    script = "touch /data/mine && sleep 1000"
    spec: dict[str, Any] = {"container": container, "volumes": volumes, "resources": limits, "hostUsers": False}
    # Tokens are on tmpfs, which this kernel cannot map: that comes with Linux 6.3.
    with running_pod("own", script, automountServiceAccountToken=False, **spec):
        inside = kubectl(
            "exec", "own", "--", "sh", "-c", "id -u; stat -c %u /data/mine /bin/sh; cat /proc/self/uid_map"
        )
        assert inside.split()[:4] == ["0", "0", "0", "0"], inside
        outside = int(inside.split()[4])
        assert outside > 0, inside
        assert Path(f"/proc/{container_pids()['own/main']}").stat().st_uid == outside
        group = container_cgroup("own") if is_v2() else None
        assert group is None or read_values(group, "memory.max") == [str(64 << 20)]
    assert "own" not in kubectl("get", "pods", "-o", "name")


def is_v2() -> bool:
    return (CGROUPS / "cgroup.controllers").exists()


def an_idle_daemon_sleeps() -> None:
    """Pods run, and nobody asks for anything: what wakes it up is the housekeeping of a minute."""
    with running_pod("quiet", "sleep 1000"):
        time.sleep(8)
        pid = unit("MainPID")

        def measure() -> tuple[int, int]:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{pid}/status").read_text()
            switches = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.MULTILINE)
            return int(fields[11]) + int(fields[12]), int(switches[1]) if switches else 0

        before = measure()
        time.sleep(20)
        ticks, switches = (end - start for end, start in zip(measure(), before, strict=True))
        print(f"     20 s of rest: {ticks * 10} ms of the emulated processor, {switches} wake-ups")
        # A look at disks and logs may fall into it; here the processor is some twenty times slower than a real one.
        assert ticks < 100, ticks
        assert switches < 40, switches


LIMIT_CHECKS: tuple[Callable[[], None], ...] = (
    classes_of_pods_share_the_processors,
    limits_are_applied,
    a_resize_in_place_reaches_the_kernel,
    an_oom_kill_is_reported_of_the_container_that_died,
    exec_works_and_leaves_no_cgroup,
    a_shared_process_namespace_works,
    a_privileged_pod_works,
    a_pod_has_users_of_its_own,
    an_image_is_a_volume,
    an_idle_daemon_sleeps,
)
V2_ONLY = (
    classes_of_pods_share_the_processors,
    limits_are_applied,
    a_resize_in_place_reaches_the_kernel,
    an_oom_kill_is_reported_of_the_container_that_died,
    exec_works_and_leaves_no_cgroup,
)
QUICK = (
    classes_of_pods_share_the_processors,
    limits_are_applied,
    a_resize_in_place_reaches_the_kernel,
    an_oom_kill_is_reported_of_the_container_that_died,
    exec_works_and_leaves_no_cgroup,
)

"""Checks that run inside the guest of ``scripts/test-cgroup-v2``, as root, with nothing but the standard library.

One line a check goes to standard output, ``PASS name (seconds)`` or ``FAIL name: why``, and at the end ``RESULT``.
Checks run in the order of this file and build on each other only where their names say so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from guest import (
    CGROUPS,
    CHECKS,
    EXAMPLES,
    HERE,
    PODS,
    SLOW,
    UNIT,
    Check,
    check,
    container_cgroup,
    container_pids,
    container_status,
    fetch,
    fetch_when_it_answers,
    kubectl,
    pod,
    podhost,
    read_available_mib,
    read_values,
    residue,
    run,
    running_pod,
    unit,
    wait_until,
)
from limit_checks import (
    LIMIT_CHECKS,
    QUICK,
    V2_ONLY,
    a_privileged_pod_works,
    a_resize_in_place_reaches_the_kernel,
    a_shared_process_namespace_works,
    an_oom_kill_is_reported_of_the_container_that_died,
    exec_works_and_leaves_no_cgroup,
    limits_are_applied,
)

# --- systemd ---------------------------------------------------------------------------------------------------------


@check()
def doctor_is_content_with_a_fresh_machine() -> None:
    checks = json.loads(podhost("doctor", "-o", "json", ok=False))
    failed = [entry for entry in checks if entry["level"] == "fail"]
    assert not failed, failed
    layout = next(entry for entry in checks if entry["name"] == "cgroups")
    print(f"     doctor: {layout['detail']}; warnings: {[e['name'] for e in checks if e['level'] == 'warn']}")


@check(essential=True)
def the_unit_becomes_active_when_the_daemon_is_ready() -> None:
    shutil.copy(HERE / "packaging" / "podhost.service", UNIT)
    # The first start compiles all of podhost, which may take more than systemd's 90 s on an emulated processor.
    drop_in = Path("/etc/systemd/system/podhost.service.d/slow.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(f"[Service]\nTimeoutStartSec={SLOW * 2}\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "podhost")
    run("systemctl", "start", "--no-block", "podhost")
    wait_until(lambda: unit("ActiveState") != "activating", "the unit's start", SLOW * 2)
    state = [unit(name) for name in ("ActiveState", "SubState", "Type", "KillMode", "Delegate")]
    assert state == ["active", "running", "notify", "process", "yes"], state
    podhost("kubeconfig")
    assert "serverVersion" in kubectl("version", "-o", "json")
    assert run("systemd-analyze", "verify", str(UNIT), ok=False) == ""


@check(essential=True)
def images_load() -> None:
    for line in (HERE / "images.list").read_text().splitlines():
        name, source = line.split(" ", 1)
        podhost("image", "load", source, "--name", name)
    assert "debian" in podhost("image", "ls")


# --- the article's pods ------------------------------------------------------------------------------------------------


@check()
def mc1_shares_a_file() -> None:
    podhost("up", "-d", str(EXAMPLES / "mc1"))
    read = ("exec", "mc1", "-c", "1st", "--", "cat", "/usr/share/nginx/html/index.html")
    wait_until(lambda: len(kubectl(*read).splitlines()) >= 2, "two lines in index.html")
    written = kubectl("exec", "mc1", "-c", "2nd", "--", "cat", "/html/index.html")
    assert fetch(f"http://{pod('mc1')['status']['podIP']}/").splitlines()[0] == written.splitlines()[0]


@check()
def mc2_passes_messages() -> None:
    podhost("up", str(EXAMPLES / "mc2"))
    sent = re.findall(r"Produced: (\S+)", kubectl("logs", "mc2", "-c", "producer"))
    got = re.findall(r"Consumed: (\S+)", kubectl("logs", "mc2", "-c", "consumer"))
    assert sent, "nothing was sent"
    assert sent == got, (sent, got)
    assert pod("mc2")["status"]["phase"] == "Succeeded"


@check()
def mc3_answers_on_its_node_port() -> None:
    podhost("up", "-d", str(EXAMPLES / "mc3"))
    kubectl("expose", "pod", "mc3", "--type=NodePort", "--port=80")
    port = json.loads(kubectl("get", "service", "mc3", "-o", "json"))["spec"]["ports"][0]["nodePort"]
    assert "Hello" in fetch_when_it_answers(f"http://127.0.0.1:{port}/")


# --- where processes are -----------------------------------------------------------------------------------------------


@check(v2_only=True)
def pods_and_monitors_have_cgroups_outside_of_the_unit() -> None:
    group = container_cgroup("mc1")
    assert (group / "cgroup.procs").read_text().split(), f"{group} has no process"
    monitors = (PODS / "monitors" / "cgroup.procs").read_text().split()
    conmons = run("pgrep", "-x", "conmon").split()
    assert sorted(conmons) == sorted(monitors), (conmons, monitors)
    inside_unit = (CGROUPS / unit("ControlGroup").lstrip("/") / "cgroup.procs").read_text().split()
    assert inside_unit == [unit("MainPID")], inside_unit
    assert kubectl("exec", "mc1", "-c", "2nd", "--", "cat", "/proc/1/cgroup").strip() == "0::/"


@check()
def mounts_of_pods_are_not_seen_by_the_host() -> None:
    lines = Path("/proc/1/mountinfo").read_text().splitlines()
    leaked = [line for line in lines if "podhost" in line and "/ns" not in line]
    assert not leaked, leaked


# --- restarts ----------------------------------------------------------------------------------------------------------


def _assert_survives(action: Callable[[], object]) -> None:
    podhost("up", "-d", str(EXAMPLES / "mc1"))
    podhost("up", "-d", str(EXAMPLES / "mc3"))
    before, old = container_pids(), unit("MainPID")
    assert before
    action()
    wait_until(lambda: unit("ActiveState") == "active" and unit("MainPID") not in ("0", old), "a new daemon")
    wait_until(lambda: "ok" in kubectl("get", "--raw", "/readyz", ok=False), "its API")
    assert container_pids() == before, (before, container_pids())
    assert kubectl("exec", "mc1", "-c", "2nd", "--", "echo", "still here").strip() == "still here"
    assert {status["restartCount"] for status in pod("mc1")["status"]["containerStatuses"]} == {0}
    assert fetch_when_it_answers(f"http://{pod('mc3')['status']['podIP']}/")


@check()
def systemctl_restart_keeps_the_containers() -> None:
    _assert_survives(lambda: run("systemctl", "restart", "podhost"))
    assert unit("NRestarts") == "0"


@check()
def a_killed_daemon_is_started_again_and_adopts_them() -> None:
    _assert_survives(lambda: run("systemctl", "kill", "--kill-whom=main", "-s", "KILL", "podhost"))


@check()
def stop_and_start_keep_the_containers() -> None:
    def stop_and_start() -> None:
        run("systemctl", "stop", "podhost")
        assert unit("ActiveState") == "inactive", unit("ActiveState")
        run("systemctl", "start", "podhost")

    _assert_survives(stop_and_start)


@check(v2_only=True)
def pods_have_the_huge_pages_that_they_ask_for() -> None:
    """systemd delegates no such controller to a unit; outside of it, podhost enables it for itself."""
    pages = Path("/proc/sys/vm/nr_hugepages")
    pages.write_text("8")
    run("systemctl", "restart", "podhost")  # a node's pages are counted at the start
    limits = {"memory": "64Mi", "cpu": "100m", "hugepages-2Mi": "4Mi"}
    with running_pod("huge", "sleep 1000", resources={"limits": limits}), running_pod("usual", "sleep 1000"):
        for name, amount in (("huge", str(4 << 20)), ("usual", "0")):
            group = container_cgroup(name)
            assert read_values(group, "hugetlb.2MB.max") == [amount], name
            assert read_values(group.parent, "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max") == [amount, amount], name
        assert read_values(PODS / "besteffort", "hugetlb.2MB.max") == ["max"]
    pages.write_text("0")


# --- limits ------------------------------------------------------------------------------------------------------------

for _function in LIMIT_CHECKS:
    check(v2_only=_function in V2_ONLY, quick=_function in QUICK)(_function)


@check()
def doctor_is_content_beside_a_daemon() -> None:
    checks = json.loads(podhost("doctor", "-o", "json"))
    assert not [entry for entry in checks if entry["level"] == "fail"], checks


@check(quick=True)
def stop_force_leaves_nothing_and_no_failed_unit() -> None:
    podhost("stop", "--force")
    wait_until(lambda: unit("ActiveState") in ("inactive", "failed"), "the unit's end")
    assert (unit("ActiveState"), unit("Result")) == ("inactive", "success"), unit("Result")
    assert not residue(), residue()


# --- runc --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def without_crun() -> Iterator[None]:
    crun = Path(shutil.which("crun") or "/usr/bin/crun")
    hidden = crun.with_suffix(".hidden")
    crun.rename(hidden)
    try:
        yield
    finally:
        hidden.rename(crun)


RUNC_STEPS = (
    limits_are_applied,
    a_resize_in_place_reaches_the_kernel,
    an_oom_kill_is_reported_of_the_container_that_died,
    exec_works_and_leaves_no_cgroup,
    a_shared_process_namespace_works,
    a_privileged_pod_works,
    lambda: _assert_survives(lambda: run("systemctl", "restart", "podhost")),
    pods_and_monitors_have_cgroups_outside_of_the_unit,
)


@check(v2_only=True)
def runc_does_all_of_that_too() -> None:
    with without_crun():
        run("systemctl", "start", "podhost")
        problems = []
        for step in RUNC_STEPS:
            try:
                step()
            except Exception as error:
                problems.append(f"{step.__name__}: {error}")
        podhost("stop", "--force")
        wait_until(lambda: unit("ActiveState") == "inactive", "the unit's end")
        assert not problems, "\n".join(problems)
        assert not residue(), residue()


# --- a delegated subtree -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving_in_namespace(instance: str, group: Path, *flags: str) -> Iterator[None]:
    """A daemon whose hierarchy begins at ``group``, as in a container with a private cgroup namespace."""
    start = (
        "mount --make-rprivate / && umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && "
        f"exec podhost --instance {instance} serve --api-port 0 {' '.join(flags)}"
    )
    enter = f"mkdir -p {group} && echo 0 > {group}/cgroup.procs && exec unshare --cgroup --mount "
    enter += f"--propagation unchanged sh -c '{start}'"
    run("systemd-run", f"--unit={instance}", "-p", "Delegate=yes", "-p", "KillMode=process", "sh", "-c", enter)
    try:
        wait_until(lambda: _is_serving(instance), "the daemon's socket")
        _use_instance(instance)
        yield
        podhost("--instance", instance, "stop", "--force")
        wait_until(lambda: not group.exists() or not read_values(group, "cgroup.procs")[0], "the daemon's end")
    except Exception as error:
        raise AssertionError(f"{error}\n{run('journalctl', '-u', instance, '-n', '20', '--no-pager')}") from error
    finally:
        _use_instance("default")
        run("systemctl", "stop", instance, ok=False)
        with contextlib.suppress(OSError):
            # systemd removes those of units by itself.
            group.rmdir()


@check(v2_only=True)
def a_daemon_in_a_cgroup_namespace_uses_only_its_subtree() -> None:
    """The root that it sees has processes, and is not the real root.  Pods' processes are limited."""
    subtree = CGROUPS / "system.slice" / "sub.service"
    limits = {"limits": {"memory": "64Mi", "cpu": "100m"}}
    with (
        serving_in_namespace("sub", subtree, "-- --pod-max-pids 40"),
        running_pod("inner", "sleep 1000", resources=limits),
    ):
        uid = pod("inner")["metadata"]["uid"]
        identity = container_status("inner")["containerID"].removeprefix("podhost://")
        group = subtree / "podhost" / "sub" / f"pod{uid}" / identity
        assert (group / "memory.max").read_text().strip() == str(64 << 20), list(subtree.rglob("*.max"))
        assert kubectl("exec", "inner", "--", "echo", "hello").strip() == "hello"
        assert read_values(group.parent, "pids.max") == ["40"]
        many = "exec 2>&1; for i in $(seq 60); do sleep 100 > /dev/null 2>&1 & done"
        assert "Resource temporarily unavailable" in kubectl("exec", "inner", "--", "bash", "-c", many, ok=False)
    assert not residue(), residue()


@check(v2_only=True)
def without_controllers_pods_run_without_limits_and_it_is_said() -> None:
    """A subtree that was given no controller: what is above does not enable any."""
    subtree = CGROUPS / "bare" / "inner"
    try:
        with serving_in_namespace("bare", subtree):
            limits = {"limits": {"memory": "64Mi", "cpu": "100m"}}
            with running_pod("free", "sleep 1000", resources=limits):
                events = kubectl("get", "events", "-o", "jsonpath={range .items[*]}{.reason}: {.message}{'\\n'}{end}")
                for name in ("cpu", "memory"):
                    text = f"limits.{name}: not enforced: this host does not delegate the cgroup controller {name}"
                    assert f"FieldNotHonoured: spec.containers[0].resources.{text}" in events, events
                identity = container_status("free")["containerID"].removeprefix("podhost://")
                (group,) = subtree.rglob(identity)
                assert not (group / "memory.max").exists()
                assert (group / "cgroup.procs").read_text().split(), f"{group} has no process"
                assert kubectl("exec", "free", "--", "echo", "hello").strip() == "hello"
            # Not by the unit: the daemon has left its cgroup.
            log = run("journalctl", "--no-pager", "-o", "cat", "-n", "500")
            assert "containers run without limits of cpu, memory, pids: this host does not allow them" in log, log
    finally:
        with contextlib.suppress(OSError):
            (CGROUPS / "bare").rmdir()
    assert not residue(), residue()


def _is_serving(instance: str) -> bool:
    return Path(f"/run/podhost/{instance}/podhost.sock").exists()


def _use_instance(instance: str) -> None:
    os.environ["KUBECONFIG"] = f"/root/.kube/podhost-{instance}"
    if instance != "default":
        os.environ["KUBECONFIG"] = podhost("--instance", instance, "kubeconfig").strip()


# --- pressure ---------------------------------------------------------------------------------------------------------


@check(quick=True)
def memory_pressure_costs_the_pod_that_uses_more_than_it_requests() -> None:
    floor = read_available_mib() - 350
    flags = ("--housekeeping-interval", "2", "--eviction-hard", f"memory.available<{floor}Mi")
    run("systemd-run", "--unit=low", "-p", "KillMode=process", "podhost", "--instance", "low", "serve",
        "--api-port", "0", "--", *flags)  # fmt: skip
    try:
        wait_until(lambda: _is_serving("low"), "the daemon's socket")
        _use_instance("low")
        fill = "until [ -e /m/go ]; do sleep 1; done; dd if=/dev/zero of=/m/file bs=1M count=450; exec sleep 1000"
        greedy: dict[str, Any] = {
            "container": {"volumeMounts": [{"name": "m", "mountPath": "/m"}]},
            "volumes": [{"name": "m", "emptyDir": {"medium": "Memory"}}],
        }
        modest = {"requests": {"memory": "200Mi"}}
        with running_pod("modest", "sleep 1000", resources=modest), running_pod("greedy", fill, **greedy):
            kubectl("exec", "greedy", "--", "touch", "/m/go")
            kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/greedy", f"--timeout={SLOW - 20}s")
            status = pod("greedy")["status"]
            start = f"The node was low on resource: memory. Threshold quantity: {floor}Mi, available: "
            assert status["reason"] == "Evicted", status
            assert status["message"].startswith(start), status["message"]
            assert "Container main was using " in status["message"], status["message"]
            assert pod("modest")["status"]["phase"] == "Running"
            (node,) = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
            conditions = {each["type"]: each["status"] for each in node["status"]["conditions"]}
            assert conditions["MemoryPressure"] == "True", conditions
        podhost("--instance", "low", "stop", "--force")
    except Exception as error:
        raise AssertionError(f"{error}\n{run('journalctl', '-u', 'low', '-n', '20', '--no-pager')}") from error
    finally:
        _use_instance("default")
        run("systemctl", "stop", "low", ok=False)


# --- reboot ------------------------------------------------------------------------------------------------------------

STATE = Path("/var/lib/podhost-checks.json")
REBOOT_CHECK = "a reboot is quick and pods run again after it"


def reboot(passed: int, failed: int) -> None:
    """Never returns; the same program runs again after the boot, and finds the state."""
    run("systemctl", "start", "podhost")
    podhost("up", "-d", str(EXAMPLES / "mc1"))
    STATE.write_text(json.dumps({"passed": passed, "failed": failed, "at": time.time()}))
    run("systemctl", "reboot")
    time.sleep(SLOW * 2)


def after_reboot(started: float) -> None:
    down = time.time() - float(Path("/proc/uptime").read_text().split()[0]) - started
    print(f"     from the command to the next boot: {down:.0f} s")
    # Half of it is the grace of containers that do not hear SIGTERM; systemd alone would have waited 90 s for them.
    assert down < 70, f"the shutdown took {down:.0f} s"
    wait_until(lambda: unit("ActiveState") == "active", "the unit's start")
    kubectl("wait", "--for=condition=Ready", "pod/mc1", f"--timeout={SLOW - 20}s")
    counts = {status["restartCount"] for status in pod("mc1")["status"]["containerStatuses"]}
    assert counts == {1}, counts
    assert fetch_when_it_answers(f"http://{pod('mc1')['status']['podIP']}/")
    podhost("stop", "--force", "--now")
    wait_until(lambda: not residue(), f"an end without residue; left: {residue()}", 30)


# --- main ----------------------------------------------------------------------------------------------------------------


def run_check(item: Check) -> bool:
    started = time.monotonic()
    try:
        item.run()
    except Exception as error:
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if frame.name not in ("run", "run_check")
        ]
        where = frames[-1].lineno if frames else 0
        print(f"FAIL {item.name}: {error or type(error).__name__} (line {where})", flush=True)
        return False
    print(f"PASS {item.name} ({time.monotonic() - started:.1f} s)", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layout", choices=("v2", "hybrid", "v1"), default="v2")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=int, default=2400)
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    is_over = limit_time(args.seconds)
    import security_checks  # noqa: F401  registers its own, behind those of this file

    os.environ |= {"HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    _use_instance("default")
    passed = failed = 0
    if STATE.exists():
        state = json.loads(STATE.read_text())
        STATE.unlink()
        good = run_check(Check(REBOOT_CHECK, lambda: after_reboot(state["at"]), v2_only=False, essential=False))
        return report(state["passed"] + good, state["failed"] + (not good))
    for item in CHECKS:
        if not is_wanted(item, args):
            continue
        if run_check(item):
            passed += 1
            continue
        failed += 1
        if item.essential or is_over():
            print("     the checks after this one were not run", flush=True)
            return report(passed, failed)
    if not args.quick and (not args.words or any(word in REBOOT_CHECK for word in args.words)):
        reboot(passed, failed)
    return report(passed, failed)


def is_wanted(item: Check, args: argparse.Namespace) -> bool:
    if item.v2_only and args.layout != "v2":
        return False
    if item.essential:
        return True
    if args.quick and not item.quick:
        return False
    return not args.words or any(word in item.name for word in args.words)


def limit_time(seconds: int) -> Callable[[], bool]:
    """Whether the time is over; when it ends, so does the step that is under way."""
    ends = time.monotonic() + seconds

    def end(*_: object) -> None:
        raise TimeoutError(f"the {seconds} s for all checks are over")

    signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    return lambda: time.monotonic() >= ends


def report(passed: int, failed: int) -> int:
    if failed:
        log = run("journalctl", "-u", "podhost", "-n", "80", "--no-pager", "-o", "cat", ok=False)
        print("--- the daemon's log", log, sep="\n")
    print(f"RESULT passed={passed} failed={failed}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

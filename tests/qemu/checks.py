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
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXAMPLES = HERE / "examples"
UNIT = Path("/etc/systemd/system/podhost.service")
CGROUPS = Path("/sys/fs/cgroup")
PODS = CGROUPS / "podhost" / "default"
CLASSES = {"Guaranteed": "", "Burstable": "burstable", "BestEffort": "besteffort"}
"""Where their pods are below ``PODS``."""
SLOW = 180
"""Seconds for one step: the guest's processor is emulated."""


@dataclass(frozen=True)
class Check:
    name: str
    run: Callable[[], None]
    v2_only: bool
    essential: bool
    """The others make no sense without it; it runs whatever words were given."""


CHECKS: list[Check] = []


def check(*, v2_only: bool = False, essential: bool = False) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a check; its name is what it promises."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        CHECKS.append(Check(function.__name__.replace("_", " "), function, v2_only, essential))
        return function

    return register


# --- tools -----------------------------------------------------------------------------------------------------------


def run(*argv: str, ok: bool = True, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    """Standard output of a command; its failure is an AssertionError with all that it said."""
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, timeout=SLOW, check=False, env={**os.environ, **(env or {})}
    )
    assert not ok or done.returncode == 0, f"{' '.join(argv)}: exit {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def podhost(*argv: str, **options: Any) -> str:
    return run("podhost", *argv, **options)


def kubectl(*argv: str, **options: Any) -> str:
    return run("kubectl", *argv, **options)


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = SLOW) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.3)
    return value


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", "pod", name, "-o", "json"))
    return found


def container_status(name: str, index: int = 0) -> dict[str, Any]:
    status: dict[str, Any] = pod(name)["status"]["containerStatuses"][index]
    return status


def container_cgroup(name: str, index: int = 0) -> Path:
    """Of a version 2 guest."""
    found = pod(name)
    identity: str = found["status"]["containerStatuses"][index]["containerID"].removeprefix("podhost://")
    return PODS / CLASSES[found["status"]["qosClass"]] / f"pod{found['metadata']['uid']}" / identity


def build_pod(name: str, script: str, *, resources: dict[str, Any] | None = None, **spec: Any) -> str:
    container = {"name": "main", "image": "debian", "command": ["bash", "-c", script], "resources": resources or {}}
    container |= spec.pop("container", {})
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 1, **spec, "containers": [container]},
    }
    return json.dumps(manifest)


@contextlib.contextmanager
def running_pod(name: str, script: str, *, until: str = "condition=Ready", **spec: Any) -> Iterator[None]:
    kubectl("apply", "-f", "-", stdin=build_pod(name, script, **spec))
    try:
        kubectl("wait", f"--for={until}", f"pod/{name}", f"--timeout={SLOW - 20}s")
        yield
    except AssertionError as error:
        raise AssertionError(f"{error}\n{kubectl('describe', 'pod', name, ok=False)}") from error
    finally:
        kubectl("delete", "pod", name, "--timeout=60s", ok=False)


def container_pids() -> dict[str, int]:
    """Main process of each running container, by its name in its pod, asked of the kernel."""
    found = {}
    for item in json.loads(kubectl("get", "pods", "-o", "json"))["items"]:
        for status in item["status"].get("containerStatuses", []):
            identity = status.get("containerID", "").removeprefix("podhost://")
            if "running" in status["state"]:
                found[f"{item['metadata']['name']}/{status['name']}"] = main_process(identity)
    return found


def main_process(container_id: str) -> int:
    members = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"/{container_id}" in (entry / "cgroup").read_text():
                    members[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    mains = [pid for pid, parent in members.items() if parent not in members]
    assert mains, f"no process in the cgroup of container {container_id}"
    return min(mains)


def unit(prop: str) -> str:
    return run("systemctl", "show", "podhost", "-p", prop, "--value").strip()


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as response:
        text: str = response.read().decode()
    return text


def fetch_when_it_answers(url: str) -> str:
    def attempt() -> str:
        try:
            return fetch(url)
        except OSError:
            return ""

    return str(wait_until(attempt, f"an answer from {url}"))


def residue() -> list[str]:
    """What a podhost has left on this machine, besides its data directory."""
    left = [str(path) for root in (CGROUPS,) for path in root.rglob("podhost") if path.is_dir()]
    left += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "podhost" in line]
    left += [line for line in run("nft", "list", "tables").splitlines() if "podhost" in line]
    left += [name for name in os.listdir("/sys/class/net") if name not in ("lo", "eth0") and not name.startswith("en")]
    left += [line for line in run("ip", "route").splitlines() if "eth0" not in line and " en" not in line]
    left += [str(path) for path in Path("/run/podhost").glob("*") if path.name != "_network"]
    left += [
        line
        for line in run("ps", "-eo", "pid,args").splitlines()
        if re.search(r"\b(conmon|catatonit|crun|runc) ", line) and "checks.py" not in line
    ]
    return left


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


# --- limits ------------------------------------------------------------------------------------------------------------


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


def an_oom_kill_is_reported() -> None:
    eat = "head -c 200M /dev/zero | tail"
    limits = {"limits": {"memory": "32Mi"}}
    done = "jsonpath={.status.phase}=Failed"
    with running_pod(
        "hungry", f"exec bash -c '{eat}; sleep 1000'", until=done, resources=limits, restartPolicy="Never"
    ):
        ended = container_status("hungry")["state"]["terminated"]
        assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137), ended


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


for _function in (
    limits_are_applied,
    an_oom_kill_is_reported,
    exec_works_and_leaves_no_cgroup,
    a_shared_process_namespace_works,
    a_privileged_pod_works,
):
    check(v2_only=_function in (limits_are_applied, exec_works_and_leaves_no_cgroup))(_function)


@check()
def doctor_is_content_beside_a_daemon() -> None:
    checks = json.loads(podhost("doctor", "-o", "json"))
    assert not [entry for entry in checks if entry["level"] == "fail"], checks


@check()
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
    an_oom_kill_is_reported,
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


@check(v2_only=True)
def a_daemon_in_a_cgroup_namespace_uses_only_its_subtree() -> None:
    """As in a container with a private cgroup namespace: the root has processes, and is not the real root."""
    start = (
        "mount --make-rprivate / && umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && "
        "exec podhost --instance sub serve --api-port 0"
    )
    serve = ("unshare", "--cgroup", "--mount", "--propagation", "unchanged", "sh", "-c", start)
    run("systemd-run", "--unit=sub", "-p", "Delegate=yes", "-p", "KillMode=process", *serve)
    try:
        wait_until(lambda: _is_serving("sub"), "the daemon's socket")
        _use_instance("sub")
        subtree = CGROUPS / "system.slice" / "sub.service"
        with running_pod("inner", "sleep 1000", resources={"limits": {"memory": "64Mi", "cpu": "100m"}}):
            uid = pod("inner")["metadata"]["uid"]
            identity = container_status("inner")["containerID"].removeprefix("podhost://")
            group = subtree / "podhost" / "sub" / f"pod{uid}" / identity
            assert (group / "memory.max").read_text().strip() == str(64 << 20), list(subtree.rglob("*.max"))
            assert kubectl("exec", "inner", "--", "echo", "hello").strip() == "hello"
        podhost("--instance", "sub", "stop", "--force")
        wait_until(lambda: not subtree.exists(), "the subtree to go")
        assert not residue(), residue()
    except Exception as error:
        raise AssertionError(f"{error}\n{run('journalctl', '-u', 'sub', '-n', '20', '--no-pager')}") from error
    finally:
        _use_instance("default")
        run("systemctl", "stop", "sub", ok=False)


def _is_serving(instance: str) -> bool:
    return Path(f"/run/podhost/{instance}/podhost.sock").exists()


def _use_instance(instance: str) -> None:
    os.environ["KUBECONFIG"] = f"/root/.kube/podhost-{instance}"
    if instance != "default":
        os.environ["KUBECONFIG"] = podhost("--instance", instance, "kubeconfig").strip()


# --- pressure ---------------------------------------------------------------------------------------------------------


def _read_available_mib() -> int:
    """As the kubelet counts: page cache that is in use is not available."""
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()}
    cache = sizes["Cached"] + sizes["Buffers"] - sizes["Inactive(file)"]
    return (sizes["MemTotal"] - sizes["AnonPages"] - cache) >> 10


@check()
def memory_pressure_costs_the_pod_that_uses_more_than_it_requests() -> None:
    floor = _read_available_mib() - 350
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
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    import security_checks  # noqa: F401  registers its own, and needs this module's tools

    os.environ |= {"HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    _use_instance("default")
    passed = failed = 0
    if STATE.exists():
        state = json.loads(STATE.read_text())
        STATE.unlink()
        good = run_check(Check(REBOOT_CHECK, lambda: after_reboot(state["at"]), v2_only=False, essential=False))
        return report(state["passed"] + good, state["failed"] + (not good))
    for item in CHECKS:
        wanted = item.essential or not args.words or any(word in item.name for word in args.words)
        if not wanted or (item.v2_only and args.layout != "v2"):
            continue
        if run_check(item):
            passed += 1
            continue
        failed += 1
        if item.essential:
            return report(passed, failed)
    if not args.words or any(word in REBOOT_CHECK for word in args.words):
        reboot(passed, failed)
    return report(passed, failed)


def report(passed: int, failed: int) -> int:
    if failed:
        log = run("journalctl", "-u", "podhost", "-n", "80", "--no-pager", "-o", "cat", ok=False)
        print("--- the daemon's log", log, sep="\n")
    print(f"RESULT passed={passed} failed={failed}", flush=True)
    return 0


if __name__ == "__main__":
    # Under its own name, so that other modules of checks register theirs in the same list.
    import checks

    sys.exit(checks.main())

"""Everything at once, for a bounded time: clients create, change and delete pods while the daemon, the containers'
monitors and their processes are killed and stopped at random moments.

At the end every pod still wanted runs, each container once and with a log without gaps, every other one is gone,
and after ``stop`` nothing is left.  ``PODHOST_CHAOS_S`` and ``PODHOST_CHAOS_SEED`` make it longer, and repeat it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.daemon import Daemon, running_daemon, wait_until
from harness.residue import observe_residue

DURATION_S = float(os.environ.get("PODHOST_CHAOS_S", "15"))
SEED = int(os.environ.get("PODHOST_CHAOS_SEED", str(time.time_ns() % 1_000_000)))
PODS = "/api/v1/namespaces/default/pods"
COUNT = ("bash", "-c", "i=0; while :; do echo $((i++)); read -t 0.02 <> <(:); done")
Obj = dict[str, Any]


def container(name: str, *command: str, **more: Any) -> Obj:
    return {"name": name, "image": "debian", "command": list(command), **more}


KINDS: dict[str, Obj] = {
    "count": {"containers": [container("c0", *COUNT)]},
    "several": {"containers": [container(f"c{i}", *COUNT) for i in range(4)]},
    "init": {
        "initContainers": [container("i0", "true"), container("side", *COUNT, restartPolicy="Always")],
        "containers": [container("c0", *COUNT)],
    },
    "ends": {"restartPolicy": "Never", "containers": [container("c0", "bash", "-c", "echo hi; exit 3")]},
    "crashes": {"containers": [container("c0", "false"), container("c1", *COUNT)]},
    "volumes": {
        "shareProcessNamespace": True,
        "volumes": [{"name": "e", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}],
        "containers": [
            container("c0", *COUNT, volumeMounts=[{"name": "e", "mountPath": "/e"}, {"name": "m", "mountPath": "/m"}])
        ],
    },
    "stubborn": {"containers": [container("c0", "bash", "-c", f"trap '' TERM; {COUNT[2]}")]},
}


class Client:
    """One user with names of his own, who knows what he wants; a dead daemon makes him try again."""

    def __init__(self, daemon: Daemon, number: int, over: threading.Event) -> None:
        self._daemon = daemon
        self._over = over
        self._number = number
        self._random = random.Random(SEED * 10 + number)
        self.wanted: dict[str, str] = {}

    def run(self) -> None:
        while not self._over.is_set():
            name = f"p{self._number}-{self._random.randrange(5)}"
            if name not in self.wanted:
                self._create(name)
            elif self._random.random() < 0.6:
                grace = self._random.choice(["", "?gracePeriodSeconds=0", "?gracePeriodSeconds=1"])
                self._call("DELETE", f"{PODS}/{name}{grace}", None, " 404 ")
                del self.wanted[name]
            else:
                pod: Obj = json.loads(self._call("GET", f"{PODS}/{name}", None))
                pod["metadata"]["labels"] = {"x": str(self._random.random())}
                self._call("PUT", f"{PODS}/{name}", pod, " 409 ")
            time.sleep(self._random.random() * 0.3)

    def _create(self, name: str) -> None:
        kind = self._random.choice(sorted(KINDS))
        spec = {"terminationGracePeriodSeconds": self._random.choice([0, 1, 2]), **KINDS[kind]}
        pod = {"metadata": {"name": name, "annotations": {"kind": kind}}, "spec": spec}
        if "AlreadyExists" not in self._call("POST", PODS, pod, " 409 "):
            self.wanted[name] = kind
            return
        # An earlier one on its way out; or ours, whose answer the daemon's death has swallowed.
        there = self._call("GET", f"{PODS}/{name}", None, " 404 ")
        metadata: Obj = json.loads(there)["metadata"] if there.startswith("{") else {"deletionTimestamp": "gone"}
        if "deletionTimestamp" not in metadata:
            self.wanted[name] = metadata["annotations"]["kind"]

    def _call(self, method: str, path: str, body: Obj | None, *allowed: str) -> str:
        deadline = time.monotonic() + 60
        while True:
            try:
                return self._daemon.request(method, path, body)
            except RuntimeError as error:  # the daemon's answer
                if any(word in str(error) for word in allowed):
                    return str(error)
                raise
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def wreak_havoc(daemon: Daemon, over: threading.Event) -> None:
    chance = random.Random(SEED)
    while not over.is_set():
        time.sleep(chance.choice([0.05, 0.3, 1]) * chance.random() * 2)
        match chance.choice(["daemon", "daemon", "monitor", "process", "pause"]):
            case "daemon":
                daemon.kill()
                time.sleep(chance.choice([0, 0, 0.5]))
                daemon.start()
            case "monitor":
                _signal_one(chance, _monitors(daemon), signal.SIGKILL)
            case "process":
                _signal_one(chance, lambda: list(daemon.container_pids().values()), signal.SIGKILL)
            case _:
                stopped = _signal_one(chance, _monitors(daemon), signal.SIGSTOP)
                time.sleep(chance.random())
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stopped, signal.SIGCONT)


def _signal_one(chance: random.Random, find: Callable[[], list[int]], number: signal.Signals) -> int:
    pids = find()
    pid = chance.choice(pids) if pids else -1
    if pid > 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid
    return os.getpid()  # to continue ourselves changes nothing


def _monitors(daemon: Daemon) -> Callable[[], list[int]]:
    def find() -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else [b""]
                if words[0].endswith(b"conmon") and any(str(daemon.root).encode() in word for word in words):
                    found.append(int(entry.name))
        return found

    return find


def find_wrongs(daemon: Daemon, wanted: dict[str, str]) -> list[str]:
    """What is not as it should be; empty once all has settled."""
    pods = {pod["metadata"]["name"]: pod for pod in daemon.get(PODS)["items"]}
    wrongs = [f"{name} is still there" for name in pods.keys() - wanted.keys()]
    claimed: set[str] = set()
    holders = 0
    for name, kind in wanted.items():
        pod = pods.get(name)
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            wrongs.append(f"{name} ({kind}) is not there")
            continue
        status, holders = pod["status"], holders + (kind == "volumes")
        entries = [*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())]
        running = [entry for entry in entries if "running" in entry["state"]]
        claimed |= {entry["containerID"].removeprefix("podhost://") for entry in running}
        phase, count = ("Failed", 0) if kind == "ends" else ("Running", _count_lasting(kind))
        if status["phase"] != phase or len(running) < count:
            wrongs.append(f"{name} ({kind}) is {status['phase']} with {len(running)} of {count} containers")
    alive = set(daemon.container_pids())
    if claimed - alive or len(alive - claimed) > holders:
        wrongs.append(f"running without a process: {claimed - alive}; forgotten: {alive - claimed}")
    return wrongs


def _count_lasting(kind: str) -> int:
    spec = KINDS[kind]
    every = [*spec.get("initContainers", ()), *spec["containers"]]
    return sum(entry["command"][0] == "bash" for entry in every)


def find_log_faults(daemon: Daemon, wanted: dict[str, str]) -> Iterator[str]:
    for name in wanted:
        for entry in daemon.pod(name)["status"].get("containerStatuses", ()):
            if "running" in entry["state"]:
                log = daemon.request("GET", f"{PODS}/{name}/log?container={entry['name']}").split()
                if [int(line) for line in log] != list(range(len(log))):
                    yield f"{name}/{entry['name']}: {log[:3]} … {log[-3:]} in {len(log)} lines"


@pytest.fixture
def daemon(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store) as running:
        yield running


def test_whatever_is_killed_all_pods_end_as_wanted(daemon: Daemon) -> None:
    print(f"PODHOST_CHAOS_SEED={SEED}")  # shown when it fails
    over = threading.Event()
    clients = [Client(daemon, number, over) for number in range(4)]
    with ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(client.run) for client in clients]
        futures.append(pool.submit(wreak_havoc, daemon, over))
        over.wait(DURATION_S)
        over.set()
        for future in futures:
            future.result()
    if daemon.process is None or daemon.process.poll() is not None:
        daemon.start()
    wanted = {name: kind for client in clients for name, kind in client.wanted.items()}
    settled = False
    with contextlib.suppress(AssertionError):
        settled = wait_until(lambda: not find_wrongs(daemon, wanted), timeout_s=60)
    assert settled, find_wrongs(daemon, wanted)
    assert not list(find_log_faults(daemon, wanted))
    daemon.stop()
    assert not observe_residue(daemon)

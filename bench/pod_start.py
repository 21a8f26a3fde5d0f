"""API create → both containers Running as a watch sees it, beside two floors and podman.

The floor is ``crun run`` of the same two containers at once on overlay mounts: no monitor, no API, no network.
Peer: ``podman kube play`` of the same manifest, where podman is installed and works.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import laden_pod
from bench.measure import machine_cpu_s, median_ms
from harness.daemon import Daemon, running_daemon
from harness.images import ensure_example_images, list_sources

RUNS = 25
STORE = Path(os.environ.get("PODHOST_TEST_IMAGE_STORE", "/var/cache/podhost/test-image-store"))
COMMAND = ["sleep", "infinity"]

PODMAN_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
"""
"""Without CAP_SYS_RESOURCE podman cannot raise limits; without systemd it needs cgroupfs."""


def manifest(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 10,
            # A deletion is to measure podhost, not a grace period; a program that has just been started may not hear
            # SIGTERM yet.
            "os": {"name": "linux"},
            "containers": [
                {
                    "name": part,
                    "image": "docker.io/library/debian:latest",
                    "imagePullPolicy": "Never",
                    "command": COMMAND,
                    "lifecycle": {"stopSignal": "SIGKILL"},
                }
                for part in ("a", "b")
            ],
        },
    }


def connect(daemon: Daemon) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(str(daemon.socket_path))
    return connection


def both_running(event: dict[str, Any]) -> bool:
    statuses = event["object"].get("status", {}).get("containerStatuses", [])
    return len(statuses) == 2 and all("running" in status["state"] for status in statuses)


def start_one(daemon: Daemon, name: str, pod: dict[str, Any] | None = None) -> float:
    """Seconds from sending the create to the watch event that shows both containers Running."""
    watch = connect(daemon)
    path = "/api/v1/namespaces/default/pods"
    watch.request("GET", f"{path}?watch=true&fieldSelector=metadata.name={name}")
    events = watch.getresponse()
    create = connect(daemon)
    body = json.dumps(pod or manifest(name))
    begin = time.perf_counter()
    create.request("POST", path, body, {"Content-Type": "application/json"})
    answer = create.getresponse()
    if answer.status != 201:
        raise RuntimeError(answer.read().decode())
    while not both_running(json.loads(events.readline())):
        pass
    elapsed = time.perf_counter() - begin
    watch.close()
    create.close()
    return elapsed


def delete_one(daemon: Daemon, name: str) -> float:
    """Seconds from the delete to the DELETED event."""
    watch = connect(daemon)
    path = "/api/v1/namespaces/default/pods"
    watch.request("GET", f"{path}?watch=true&fieldSelector=metadata.name={name}")
    events = watch.getresponse()
    begin = time.perf_counter()
    daemon.request("DELETE", f"{path}/{name}")
    while json.loads(events.readline())["type"] != "DELETED":
        pass
    elapsed = time.perf_counter() - begin
    watch.close()
    return elapsed


def sample(one: Callable[[int], float], settle: Callable[[int], object]) -> tuple[list[float], float]:
    """Wall seconds of each run, and the median CPU seconds of the machine a run."""
    walls, cpus = [], []
    for index in range(RUNS + 2):
        before = machine_cpu_s()
        wall = one(index)
        cpu = machine_cpu_s() - before
        settle(index)
        if index >= 2:
            walls.append(wall)
            cpus.append(cpu)
    return walls, statistics.mean(cpus)


@dataclass(frozen=True)
class Floor:
    """``crun run`` of the two containers, in a mount namespace of its own."""

    process: subprocess.Popen[str]

    @classmethod
    @contextmanager
    def prepare(cls, work: Path, load: dict[str, Any] | None = None) -> Iterator[Floor]:
        """``load``: what the containers carry (see ``crun_floor.py``)."""
        work.mkdir(exist_ok=True)
        script = Path(__file__).with_name("crun_floor.py")
        command = ["unshare", "-m", sys.executable, str(script), str(work)]
        if load:
            (work / "load.json").write_text(json.dumps(load))
            command.append(str(work / "load.json"))
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield cls(process)
            assert process.stdin is not None
            process.stdin.close()

    def run(self) -> float:
        """Seconds of one run."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def floor_sample(work: Path) -> tuple[list[float], float]:
    """Wall seconds of each run, and CPU seconds of the machine a run."""
    with Floor.prepare(work) as floor:
        return sample(lambda _: floor.run(), lambda _: None)


@dataclass(frozen=True)
class PodmanPeer:
    """podman with the same image and manifests, made to work beside podhost.

    All its commands share one mount namespace: podman pins the network namespaces of its pods there.
    """

    file: Path
    environment: dict[str, str]
    holder: subprocess.Popen[bytes]

    @classmethod
    @contextmanager
    def prepare(cls, work: Path) -> Iterator[PodmanPeer | None]:
        """``None`` where podman is not installed."""
        if shutil.which("podman") is None:
            yield None
            return
        pull = ["podman", "pull", "-q", list_sources()["debian"]]
        image = subprocess.run(pull, capture_output=True, text=True, check=True).stdout.strip()
        subprocess.run(["podman", "tag", image, "docker.io/library/debian:latest"], check=True)
        configuration = work / "containers.conf"
        configuration.write_text(PODMAN_CONFIGURATION)
        # crun refuses hybrid hosts unless the unified hierarchy is out of its sight.
        script = "umount /sys/fs/cgroup/unified 2>/dev/null; echo; exec sleep infinity"
        with subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            try:
                yield cls(work / "pod.yaml", {**os.environ, "CONTAINERS_CONF": str(configuration)}, holder)
            finally:
                holder.kill()

    def _run(self, *words: str) -> None:
        enter = ["nsenter", "-t", str(self.holder.pid), "-m", "--"]
        subprocess.run([*enter, "podman", *words], check=True, capture_output=True, env=self.environment)

    def play(self, index: int) -> float:
        """Seconds of ``podman kube play``."""
        file = self.file.with_suffix(f".{index}.yaml")
        file.write_text(json.dumps(manifest(f"peer-{os.getpid()}-{index}")))
        begin = time.perf_counter()
        self._run("kube", "play", str(file))
        return time.perf_counter() - begin

    def remove(self, index: int) -> None:
        self._run("pod", "rm", "-f", "-t", "0", f"peer-{os.getpid()}-{index}")


def podman_sample(work: Path) -> tuple[list[float], float] | None:
    with PodmanPeer.prepare(work) as peer:
        if peer is None:
            return None
        try:
            return sample(peer.play, peer.remove)
        except subprocess.CalledProcessError as error:
            print(f"podman kube play does not work here: {error.stderr.decode()[-300:]}")
            return None


def measure_laden(daemon: Daemon, floor: Path) -> None:
    """The pod with volumes, limits and a profile; runs of both, the plain pod and the floor take turns."""
    laden_pod.create_objects(daemon)
    walls: dict[str, list[float]] = {"plain": [], "laden": [], "floor": []}
    load = {
        "files": {each["name"]: {} if each["name"] == "data" else laden_pod.CONFIG for each in laden_pod.VOLUMES},
        "in_memory": ["secret", "all", "pod"],
        "linux": {
            "seccomp": laden_pod.build_profile(),
            "resources": {"cpu": {"quota": 50_000, "period": 100_000}, "memory": {"limit": 128 << 20}},
        },
    }
    with laden_pod.seccomp_file() as profile, Floor.prepare(floor, load) as crun:
        for index in range(RUNS + 2):
            walls["plain"].append(start_one(daemon, f"plain{index}"))
            pod = laden_pod.load(manifest(f"laden{index}"), profile)
            walls["laden"].append(start_one(daemon, f"laden{index}", pod))
            walls["floor"].append(crun.run())
            for kind in ("plain", "laden"):
                delete_one(daemon, f"{kind}{index}")
    plain, laden, least = (walls[kind][2:] for kind in ("plain", "laden", "floor"))
    print("pod_start: the same with 5 volumes, limits and a seccomp profile in each container")
    print(f"  podhost create → both Running  {median_ms(laden)}")
    print(f"  floor: crun run of the same    {median_ms(least)}")
    print(f"  ratio podhost / floor          {statistics.median(laden) / statistics.median(least):7.2f}   (budget ≤ 4)")
    print(f"  ratio to the plain pod         {statistics.median(laden) / statistics.median(plain):7.2f}")


def main() -> None:
    ensure_example_images(STORE)
    deletes: list[float] = []
    with tempfile.TemporaryDirectory(prefix="podhost-bench-") as directory:
        work = Path(directory)
        with running_daemon(STORE) as daemon:
            ours, our_cpu = sample(
                lambda i: start_one(daemon, f"bench{i}"),
                lambda i: deletes.append(delete_one(daemon, f"bench{i}")),
            )
            measure_laden(daemon, work / "laden")
        floor, floor_cpu = floor_sample(work)
        peer = podman_sample(work)
    print(f"pod_start: 2 containers, local image, {RUNS} runs, medians; CPU is the whole machine's, mean a run")
    print(f"  podhost create → both Running  {median_ms(ours)}   CPU {our_cpu * 1e3:5.0f} ms")
    print(f"  podhost delete → gone          {median_ms(deletes)}")
    print(f"  floor: crun run, two at once   {median_ms(floor)}   CPU {floor_cpu * 1e3:5.0f} ms")
    print(f"  ratio podhost / floor          {statistics.median(ours) / statistics.median(floor):7.2f}   (budget ≤ 4)")
    if peer:
        walls, cpu = peer
        print(f"  podman kube play               {median_ms(walls)}   CPU {cpu * 1e3:5.0f} ms")
        print(
            f"  ratio podhost / podman         {statistics.median(ours) / statistics.median(walls):7.2f}   (budget ≤ 0.2)"
        )
    else:
        print("  podman kube play               not measured: podman is not installed here")

"""Create and delete pods, four at a time: pods a second, CPU a pod, what is left, and the daemon's memory.

The memory is shown before and after a first pod, at the end of each round, and when the daemon has given back what it
can.  A first pod leaves code that was not loaded before and what is cached of API types; the first round leaves holes
in Python's arenas, threads and full caches; what later ones leave is growth.
The Events of the pods stay, as they do for an hour; they are on disk.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.measure import cpu_s, machine_cpu_s, pss_by_kind_kib
from bench.pod_start import STORE, PodmanPeer, delete_one, floor_sample, manifest, start_one
from harness.daemon import Daemon, running_daemon
from harness.images import ensure_example_images
from harness.residue import observe_residue

PODS = 200
AT_ONCE = 4
ROUNDS = 6
"""The first shows what stays for good; growth is counted from its end."""
TIDY_S = 4.0
"""Some seconds after a burst of deletions the daemon gives memory back."""
PEER_PODS = 20


@dataclass(frozen=True)
class Memory:
    """Of the daemon, by kind (see :func:`bench.measure.pss_by_kind_kib`)."""

    kinds_kib: dict[str, int]

    @property
    def total_kib(self) -> int:
        return sum(self.kinds_kib.values())

    @property
    def own_kib(self) -> int:
        """Without the libraries, whose share depends on who else uses them at the moment."""
        return self.total_kib - self.kinds_kib["files"]

    def __str__(self) -> str:
        parts = ", ".join(f"{kind} {size / 1024:.1f}" for kind, size in self.kinds_kib.items())
        return f"{self.total_kib / 1024:5.1f} MiB ({parts})"


@dataclass(frozen=True)
class Round:
    """One lot of pods: seconds, CPU seconds of the machine and of the daemon, its memory just after and once tidied."""

    wall_s: float
    machine_s: float
    daemon_s: float
    busy: Memory
    tidied: Memory


def churn(count: int, one: Callable[[int], object]) -> tuple[float, float]:
    """Wall and machine seconds of ``count`` lives, four at a time."""
    begin, cpu = time.perf_counter(), machine_cpu_s()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, range(count)))
    return time.perf_counter() - begin, machine_cpu_s() - cpu


def live(daemon: Daemon, name: str) -> None:
    start_one(daemon, name, manifest(name))
    delete_one(daemon, name)


def run_round(daemon: Daemon, number: int) -> Round:
    assert daemon.process is not None
    pid = daemon.process.pid

    before = cpu_s(pid)
    wall, machine = churn(PODS, lambda index: live(daemon, f"churn{number}-{index}"))
    daemon_s, busy = cpu_s(pid) - before, read_memory(daemon)
    time.sleep(TIDY_S)
    return Round(wall, machine, daemon_s, busy, read_memory(daemon))


def read_memory(daemon: Daemon) -> Memory:
    assert daemon.process is not None
    return Memory(pss_by_kind_kib(daemon.process.pid))


def run_peer(work: Path) -> tuple[float, float] | None:
    """podman kube play and its removal, four at a time; ``None`` where podman does not work."""
    with PodmanPeer.prepare(work) as peer:
        if peer is None:
            return None

        def live(index: int) -> None:
            peer.play(index)
            peer.remove(index)

        try:
            return churn(PEER_PODS, live)
        except subprocess.CalledProcessError as error:
            print(f"podman kube play does not work here: {error.stderr.decode()[-300:]}")
            return None


def main() -> None:
    ensure_example_images(STORE)
    with running_daemon(STORE) as daemon:
        daemon.terminate()
        before = observe_residue(daemon)
        daemon.start()
        time.sleep(TIDY_S)
        idle = read_memory(daemon)
        live(daemon, "first")
        time.sleep(TIDY_S)
        first = read_memory(daemon)
        rounds = [run_round(daemon, number) for number in range(ROUNDS)]
        files = {len(list((daemon.data_root / daemon.instance / name).glob("*"))) for name in ("pods", "logs")}
        daemon.stop()
        residue = observe_residue(daemon).minus(before)
    with tempfile.TemporaryDirectory(prefix="podhost-bench-") as directory:
        _, floor_cpu = floor_sample(Path(directory))
        peer = run_peer(Path(directory))
    last = rounds[-1]
    print(f"churn: {PODS} pods of 2 containers, created and deleted, {AT_ONCE} at a time; the last of {ROUNDS} rounds")
    print(f"  podhost                        {PODS / last.wall_s:7.1f} pods/s")
    print(f"  CPU a pod                      {last.machine_s / PODS * 1e3:7.0f} ms, of the daemon alone "
          f"{last.daemon_s / PODS * 1e3:.0f} ms")  # fmt: skip
    print(f"  ratio to the floor's CPU       {last.machine_s / PODS / floor_cpu:7.2f}   (crun run of both, no removal)")
    if peer:
        wall, cpu = peer
        print(
            f"  podman kube play and rm        {PEER_PODS / wall:7.1f} pods/s, CPU {cpu / PEER_PODS * 1e3:.0f} ms a pod"
        )
        print(f"  ratio podhost / podman         {(PODS / last.wall_s) / (PEER_PODS / wall):7.2f}   (pods a second)")
    print(f"  daemon's memory, idle          {idle}")
    print(f"    after its first pod          {first}")
    for number, each in enumerate(rounds):
        print(f"    round {number}: at its end {each.busy.total_kib / 1024:.1f} MiB, tidied       {each.tidied}")
    later = (rounds[-1].tidied.own_kib - rounds[0].tidied.own_kib) / (PODS * (ROUNDS - 1))
    end = rounds[-1].tidied
    print(
        f"  not back where it was          {(end.own_kib - idle.own_kib) / 1024:.1f} MiB more than idle "
        f"({end.own_kib / idle.own_kib:.2f} times), {(end.own_kib - first.own_kib) / 1024:.1f} MiB more than after "
        "the first pod; without libraries"
    )
    print(f"  growth a pod after the first round {later:.2f} KiB, with Events that are kept for an hour")
    print(
        f"  residue                        {residue if residue else 'none'}; directories of pods and logs: {max(files)}"
    )

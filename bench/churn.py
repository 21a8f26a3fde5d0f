"""Create and delete pods, four at a time: pods a second, CPU a pod, what is left, and the daemon's memory.

The daemon has had a round before it is measured, so that what it keeps for good (caches, compiled filters, pools of
threads) is there.  What each round leaves in its memory after that is the figure to watch.  Events are kept for an
hour on purpose, and are bounded in number.
"""

from __future__ import annotations

import itertools
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.measure import TICKS, machine_cpu_s, pss_kib
from bench.pod_start import STORE, PodmanPeer, delete_one, floor_sample, manifest, start_one
from harness.daemon import Daemon, running_daemon
from harness.images import ensure_example_images
from harness.residue import observe_residue

PODS = 200
AT_ONCE = 4
ROUNDS = 3
"""The first is not measured."""
TIDY_S = 4.0
"""Some seconds after a burst of deletions the daemon gives memory back."""
PEER_PODS = 20


@dataclass(frozen=True)
class Round:
    """One lot of pods: seconds, CPU seconds of the machine and of the daemon, its memory after it and once the
    Events of the lot are gone, which are kept for an hour.
    """

    wall_s: float
    machine_s: float
    daemon_s: float
    with_events_kib: int
    memory_kib: int


def process_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def churn(count: int, one: Callable[[int], object]) -> tuple[float, float]:
    """Wall and machine seconds of ``count`` lives, four at a time."""
    begin, cpu = time.perf_counter(), machine_cpu_s()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, range(count)))
    return time.perf_counter() - begin, machine_cpu_s() - cpu


def run_round(daemon: Daemon, number: int) -> Round:
    assert daemon.process is not None
    pid = daemon.process.pid

    def live(index: int) -> None:
        name = f"churn{number}-{index}"
        start_one(daemon, name, manifest(name))
        delete_one(daemon, name)

    before = process_cpu_s(pid)
    wall, machine = churn(PODS, live)
    daemon_s, with_events = process_cpu_s(pid) - before, pss_kib([pid])
    daemon.request("DELETE", "/api/v1/namespaces/default/events")
    time.sleep(TIDY_S)
    return Round(wall, machine, daemon_s, with_events, pss_kib([pid]))


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
    growth = [(b.memory_kib - a.memory_kib) / PODS for a, b in itertools.pairwise(rounds)]
    memory = ", ".join(f"{r.memory_kib / 1024:.1f} ({r.with_events_kib / 1024:.1f})" for r in rounds)
    print(f"  daemon's memory (with Events)   {memory} MiB; growth a pod {', '.join(f'{g:.1f}' for g in growth)} KiB")
    print(
        f"  residue                        {residue if residue else 'none'}; directories of pods and logs: {max(files)}"
    )

"""Memory of everything that is not workload: the daemon and the monitors, idle and with 1, 10 and 50 pods."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.measure import machine_cpu_s, pss_kib
from bench.pod_start import STORE, delete_one, start_one
from harness.daemon import Daemon, running_daemon
from harness.images import ensure_example_images

STEPS = (0, 1, 10, 50)


def monitors(daemon: Daemon) -> list[int]:
    """The conmon processes of this instance."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.path.basename(command[0]) == b"conmon" and str(daemon.root).encode() in b" ".join(command):
            found.append(int(entry.name))
    return found


def main() -> None:
    import time

    ensure_example_images(STORE)
    print("footprint: PSS of daemon + monitors (2-container pods, 4 requests at a time)")
    with running_daemon(STORE) as daemon, ThreadPoolExecutor(4) as pool:
        assert daemon.process is not None
        names: list[str] = []
        for step in STEPS:
            new = [f"foot{index}" for index in range(len(names), step)]
            begin, cpu = time.perf_counter(), machine_cpu_s()
            list(pool.map(lambda name: start_one(daemon, name), new))
            wall, cpu = time.perf_counter() - begin, machine_cpu_s() - cpu
            names += new
            own, others = pss_kib([daemon.process.pid]), pss_kib(monitors(daemon))
            print(
                f"  {step:3d} pods: daemon {own / 1024:6.1f} MiB, monitors {others / 1024:6.1f} MiB, "
                f"together {(own + others) / 1024:6.1f} MiB; {len(new)} started in {wall:.2f} s, CPU {cpu:.2f} s"
            )
        begin, cpu = time.perf_counter(), machine_cpu_s()
        list(pool.map(lambda name: delete_one(daemon, name), names))
        print(f"  removal of {len(names)} pods: {time.perf_counter() - begin:.2f} s, CPU {machine_cpu_s() - cpu:.2f} s")

"""What probes cost: CPU of the daemon and of what it runs for them, with real containers.

First each kind by itself, many times a second, for the cost of one run; then ``CONTAINERS`` containers that are
probed by HTTP, TCP and exec in equal parts at the default period of 10 s, beside as many without probes.
"""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.measure import TICKS, pss_kib
from bench.pod_start import COMMAND, STORE
from harness.daemon import Daemon, running_daemon, wait_until
from harness.images import ensure_example_images

CONTAINERS = int(os.environ.get("BENCH_CONTAINERS", "500"))
PER_POD = 10
UNIT_CONTAINERS = 50
UNIT_S = 10
WATCH_S = 60
SERVER = (
    "import http.server, os, signal\n"
    "signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "    log_message = lambda *_: None\n"
    "    def do_GET(self): self.send_response(200); self.end_headers()\n"
    "http.server.HTTPServer(('', 8080), H).serve_forever()\n"
)
PROBES: dict[str, dict[str, Any]] = {
    "http": {"httpGet": {"path": "/", "port": 8080}},
    "tcp": {"tcpSocket": {"port": 8080}},
    "exec": {"exec": {"command": ["true"]}},
}


def build_pod(name: str, kinds: list[str], period_s: int) -> dict[str, Any]:
    """One container for each kind of probe (``""``: none), and in the first a server for all."""
    containers = []
    for index, kind in enumerate(kinds):
        container: dict[str, Any] = {"name": f"c{index}", "image": "debian", "command": COMMAND}
        if index == 0:
            container |= {"image": "training/webapp", "command": ["python3", "-c", SERVER]}
        if kind:
            container["readinessProbe"] = {**PROBES[kind], "periodSeconds": period_s}
        containers.append(container)
    spec = {"terminationGracePeriodSeconds": 2, "containers": containers}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def cpu_s(daemon: Daemon) -> float:
    """Seconds of the daemon and of its children that have ended."""
    assert daemon.process is not None
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


@contextmanager
def running(daemon: Daemon, kinds: list[str], period_s: int) -> Iterator[None]:
    """One container a kind, ready; gone at the end."""
    chunks = [kinds[start : start + PER_POD] for start in range(0, len(kinds), PER_POD)]
    pods = {f"probed{index}": chunk for index, chunk in enumerate(chunks)}
    path = "/api/v1/namespaces/default/pods"

    def create(item: tuple[str, list[str]]) -> None:
        daemon.request("POST", path, build_pod(item[0], item[1], period_s))

    def count_ready() -> bool:
        items = daemon.get(path)["items"]
        ready = [c for pod in items for c in pod["status"].get("conditions", ()) if c["type"] == "Ready"]
        time.sleep(0.2)
        return bool(sum(c["status"] == "True" for c in ready) == len(pods))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, pods.items()))
        wait_until(count_ready, timeout_s=300, what="all pods ready")
        yield
        list(pool.map(lambda name: daemon.request("DELETE", f"{path}/{name}"), pods))
    wait_until(lambda: not daemon.get(path)["items"], timeout_s=120, what="the end of the pods")


def watch(daemon: Daemon, seconds: float) -> float:
    """CPU seconds spent while ``seconds`` pass, after a moment of rest."""
    time.sleep(3)
    before = cpu_s(daemon)
    time.sleep(seconds)
    return cpu_s(daemon) - before


def count_failures(daemon: Daemon) -> int:
    """Probes that have failed, as the events say."""
    events = daemon.get("/api/v1/namespaces/default/events")["items"]
    return sum(event.get("count") or 1 for event in events if event["reason"] == "Unhealthy")


def crun_alone_s(daemon: Daemon, runs: int = 100) -> float:
    """CPU seconds of one ``crun exec`` of ``true`` in a container of the daemon, started by nothing but a shell loop."""
    assert daemon.process is not None
    state = daemon.run_root / daemon.instance / "runtime" / "oci"
    container = next(iter(daemon.container_pids()))
    loop = f"i=0; while [ $i -lt {runs} ]; do crun --root {state} exec {container} true || exit 1; i=$((i+1)); done"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["nsenter", "-t", str(daemon.process.pid), "-m", "sh", "-c", loop], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / runs


def main() -> None:
    ensure_example_images(STORE)
    print("probes: CPU of the daemon and its children")
    with running_daemon(STORE) as daemon:
        for kind in PROBES:
            with running(daemon, [kind] * UNIT_CONTAINERS, 1):
                spent = watch(daemon, UNIT_S)
                alone_s = crun_alone_s(daemon) if kind == "exec" else 0.0
            runs = UNIT_CONTAINERS * UNIT_S
            print(
                f"  {kind:5} {spent / runs * 1e3:6.2f} ms a run ({UNIT_CONTAINERS} containers, one run a second each)"
            )
            if alone_s:
                print(f"  ratio to crun exec alone      {spent / runs / alone_s:5.2f}   ({alone_s * 1e3:.2f} ms a run)")
        for title, kinds in (("without probes", [""]), ("http, tcp, exec", list(PROBES))):
            wanted = [kinds[index % len(kinds)] for index in range(CONTAINERS)]
            with running(daemon, wanted, 10):
                failed = count_failures(daemon)
                spent = watch(daemon, WATCH_S)
                failed = count_failures(daemon) - failed
                assert daemon.process is not None
                memory = pss_kib([daemon.process.pid]) / 1024
            share = spent / WATCH_S * 100
            facts = f"{share:5.1f} % of one core, daemon {memory:.0f} MiB PSS, {failed} probes failed"
            print(f"  {CONTAINERS} containers {title:16} {facts}", flush=True)

"""What a user waits for: exec, ps, reading a log back, the first answer of mc3; and what a published port costs."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import yaml

from bench.measure import median_ms
from bench.pod_start import STORE, start_one
from harness.daemon import Daemon, running_daemon, wait_until
from harness.images import ensure_example_images

RUNS = 11
LOG_LINES = 200_000
EXAMPLES = Path(__file__).parents[1] / "examples"


def timed(action: Callable[[], object], runs: int = RUNS) -> list[float]:
    walls = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        action()
        walls.append(time.perf_counter() - begin)
    return walls[1:]


def command(daemon: Daemon, *args: str) -> Callable[[], object]:
    line = [str(Path(sys.executable).parent / "podhost"), *args]
    environment = daemon.environment()
    # A user's Python keeps compiled modules; without them every start compiles anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return lambda: subprocess.run(line, env=environment, check=True, stdout=subprocess.DEVNULL)


def first_answer(daemon: Daemon) -> float:
    """Seconds from the create of mc3 to its first HTTP 200 through nginx."""
    items = [
        item for path in sorted((EXAMPLES / "mc3").glob("*.yaml")) for item in yaml.safe_load_all(path.read_text())
    ]
    begin = time.perf_counter()
    for item in items:
        resource = {"ConfigMap": "configmaps", "Pod": "pods"}[item["kind"]]
        daemon.request("POST", f"/api/v1/namespaces/default/{resource}", item)

    def answered() -> bool:
        address = daemon.pod("mc3").get("status", {}).get("podIP")
        try:
            return bool(address) and urllib.request.urlopen(f"http://{address}/", timeout=1).status == 200
        except (urllib.error.URLError, OSError):
            return False

    wait_until(answered, what="the first answer")
    return time.perf_counter() - begin


def requests_per_second(url: str) -> float:
    out = subprocess.run(["ab", "-q", "-n", "4000", "-c", "8", url], check=True, capture_output=True, text=True).stdout
    found = re.search(r"Requests per second:\s+([\d.]+)", out)
    assert found is not None
    return float(found[1])


def published_share(daemon: Daemon) -> float:
    """Requests a second through the NodePort over those to the pod's own address, in pairs."""
    daemon.kubectl("expose", "pod", "mc3", "--type=NodePort", "--port=80")
    port = daemon.get("/api/v1/namespaces/default/services/mc3")["spec"]["ports"][0]["nodePort"]
    address = daemon.pod("mc3")["status"]["podIP"]
    wait_until(
        lambda: subprocess.run(["curl", "-sf", f"http://127.0.0.1:{port}/"], capture_output=True).returncode == 0
    )
    shares = []
    for _ in range(5):
        own = requests_per_second(f"http://{address}/favicon.ico")
        shares.append(requests_per_second(f"http://127.0.0.1:{port}/favicon.ico") / own)
    return statistics.median(shares)


def read_back(daemon: Daemon) -> list[float]:
    script = f"seq -f 'line number %.0f of a log that is to be read back' {LOG_LINES}; sleep infinity"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "talker"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "debian", "command": ["bash", "-c", script]}],
        },
    }
    daemon.request("POST", "/api/v1/namespaces/default/pods", pod)
    path = "/api/v1/namespaces/default/pods/talker/log"
    daemon.wait("pod/talker", "condition=Ready")
    wait_until(lambda: str(LOG_LINES) in daemon.request("GET", f"{path}?tailLines=1"), what="the whole log")
    return timed(lambda: daemon.request("GET", path), runs=5)


def main() -> None:
    ensure_example_images(STORE)
    with running_daemon(STORE) as daemon:
        print(f"requests: medians of {RUNS} runs of the whole command")
        start_one(daemon, "bench")
        print(f"  podhost version                 {median_ms(timed(command(daemon, 'version', '-o', 'json')))}")
        print(f"  podhost ps                     {median_ms(timed(command(daemon, 'ps')))}   (budget ≤ 100)")
        executed = timed(command(daemon, "exec", "bench", "-c", "a", "--", "true"))
        print(f"  podhost exec true              {median_ms(executed)}   (budget ≤ 75)")
        print(f"  {LOG_LINES} log lines read back  {median_ms(read_back(daemon))}   (budget ≤ 400)")
        print(f"  mc3: create → first HTTP 200   {first_answer(daemon) * 1e3:7.1f} ms   (budget ≤ 90)")
        if shutil.which("ab"):
            print(f"  NodePort / pod address         {published_share(daemon):7.2f}      (budget ≥ 0.95, requests/s)")
        else:
            print("  NodePort / pod address         not measured: ab is not installed here")

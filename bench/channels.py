"""Cost of one look at the channels of a pod: 2 containers, and 50 containers with 5,000 connections.

Wall time is that of the whole request, CPU time the daemon's.  What nobody asks for costs nothing: the last line is
the daemon's CPU time while the large pod runs and nobody looks.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from bench.measure import cpu_s, median_ms
from harness.daemon import Daemon, running_daemon, wait_until
from harness.images import ensure_example_images

LOOKS = 20
CONTAINERS, CONNECTIONS = 50, 100
"""Each container holds this many connections to the next one: both ends are in the pod."""
_STORE = Path("/var/cache/podhost/test-image-store")
_TALKER = """
import signal, socket, sys, threading, time
own, other, count = map(int, sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = socket.create_server(("127.0.0.1", own), backlog=count)
kept = []
threading.Thread(target=lambda: [kept.append(server.accept()) for _ in range(count)], daemon=True).start()
while len(kept) < count or sum(not isinstance(k, tuple) for k in kept) < count:
    try: kept.append(socket.create_connection(("127.0.0.1", other)))
    except OSError: time.sleep(0.05); continue
    if sum(not isinstance(k, tuple) for k in kept) >= count: break
print("ready", flush=True)
while True: signal.pause()
"""


def build_pod(name: str, containers: int, connections: int) -> str:
    def command(index: int) -> list[str]:
        own, other = 7000 + index, 7000 + (index + 1) % containers
        return ["python3", "-u", "-c", _TALKER, str(own), str(other), str(connections)]

    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {"name": f"c{index}", "image": "training/webapp", "command": command(index)}
                for index in range(containers)
            ],
        },
    }
    return json.dumps(document)


def look(daemon: Daemon, name: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.get(f"/apis/podhost.dev/v1alpha1/namespaces/default/podchannels/{name}")
    return found


def count_connections(seen: dict[str, Any]) -> int:
    return sum(int(channel.get("facts", {}).get("connections", 0)) for channel in seen["channels"])


def measure(daemon: Daemon, name: str, containers: int, connections: int) -> None:
    daemon.apply(build_pod(name, containers, connections))
    daemon.wait(f"pod/{name}", "condition=Ready", timeout_s=120)
    wanted = containers * connections
    wait_until(lambda: count_connections(look(daemon, name)) == wanted, timeout_s=120, what=f"{wanted} connections")
    assert daemon.process is not None
    before, walls = cpu_s(daemon.process.pid), []
    for _ in range(LOOKS):
        start = time.perf_counter()
        look(daemon, name)
        walls.append(time.perf_counter() - start)
    used = (cpu_s(daemon.process.pid) - before) / LOOKS * 1e3
    title = f"{containers} containers, {wanted} connections"
    print(f"{title:<40} wall {median_ms(walls)}, daemon's CPU {used:.1f} ms a look")
    assert statistics.median(walls) < 5, "a look must not take seconds"


def main() -> None:
    ensure_example_images(_STORE)
    print(f"channels: {LOOKS} looks each, {os.cpu_count()} processors")
    with running_daemon(_STORE) as daemon:
        measure(daemon, "small", 2, 1)
        measure(daemon, "large", CONTAINERS, CONNECTIONS)
        assert daemon.process is not None
        before = cpu_s(daemon.process.pid)
        time.sleep(5)
        print(f"{'nobody looks, 5 s':<40} daemon's CPU {(cpu_s(daemon.process.pid) - before) * 1e3:.0f} ms")

"""The API alone, without pods that run: requests a second, the delay of a watch event, memory with many objects.

The server runs as a process of its own; clients are plain connections on its unix socket.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from bench import watch_delay
from bench.measure import cpu_s, pss_kib
from harness.daemon import Daemon, running_daemon

PODS, CONFIGS = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/configmaps"
CONNECTIONS = 8
SECONDS = 3.0
OBJECTS = 10_000


def pod(name: str) -> dict[str, Any]:
    """A pod that no scheduler binds, so that nothing but the API is at work."""
    containers = [
        {
            "name": part,
            "image": "nginx:1.25",
            "ports": [{"containerPort": 80}],
            "env": [{"name": "A", "value": "b"}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }
        for part in ("web", "side")
    ]
    spec = {
        "containers": containers,
        "volumes": [{"name": "data", "emptyDir": {}}],
        "schedulingGates": [{"name": "bench/never"}],
    }
    metadata = {"name": name, "labels": {"app": "bench", "number": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def config(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": "value" * 20}}


class Client:
    def __init__(self, daemon: Daemon) -> None:
        connector = aiohttp.UnixConnector(str(daemon.socket_path), limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self.session = aiohttp.ClientSession("http://podhost", connector=connector, timeout=timeout)

    async def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> None:
        data = None if body is None else json.dumps(body).encode()
        async with self.session.request(method, path, data=data, headers={"Content-Type": kind}) as response:
            await response.read()
            if response.status >= 400:
                raise RuntimeError(f"{method} {path}: {response.status} {await response.text()}")


Work = Callable[[int], Awaitable[None]]


async def rate(work: Work, daemon: Daemon) -> tuple[float, float]:
    """Calls a second that ``CONNECTIONS`` clients get done, and CPU milliseconds of the daemon for each."""
    assert daemon.process is not None
    before_s = cpu_s(daemon.process.pid)
    end = time.perf_counter() + SECONDS
    done = 0

    async def run() -> None:
        nonlocal done
        while time.perf_counter() < end:
            done += 1
            await work(done)

    await asyncio.gather(*(run() for _ in range(CONNECTIONS)))
    return done / SECONDS, (cpu_s(daemon.process.pid) - before_s) / done * 1e3


async def read_pages(client: Client) -> None:
    """All pods, as kubectl reads them: 500 at a time."""
    token = ""
    while True:
        async with client.session.get(f"{PODS}?limit=500&continue={token}") as response:
            head = (await response.read())[:1000]
        found = re.search(rb'"continue":"([^"]+)"', head)
        if found is None:
            return
        token = found[1].decode()


async def measure_rates(client: Client, daemon: Daemon) -> None:
    for number in range(1000):
        await client.call("POST", PODS, pod(f"p{number:04}"))
    merge, apply = "application/merge-patch+json", "application/apply-patch+yaml"

    def patch(number: int) -> Awaitable[None]:
        body = {"metadata": {"annotations": {"n": str(number)}}}
        return client.call("PATCH", f"{PODS}/p{number % 1000:04}", body, merge)

    def apply_config(number: int) -> Awaitable[None]:
        body = config(f"a{number % 100}")
        return client.call("PATCH", f"{CONFIGS}/a{number % 100}?fieldManager=b&force=true", body, apply)

    rows: tuple[tuple[str, Work], ...] = (
        ("get a pod", lambda number: client.call("GET", f"{PODS}/p{number % 1000:04}")),
        ("list 1,000 pods", lambda _: client.call("GET", PODS)),
        ("the same in pages", lambda _: read_pages(client)),
        ("patch a pod", patch),
        ("apply a ConfigMap", apply_config),
        ("create a pod", lambda number: client.call("POST", PODS, pod(f"c{number:05}"))),
        ("create a ConfigMap", lambda number: client.call("POST", CONFIGS, config(f"c{number:05}"))),
    )
    for name, work in rows:
        calls, cpu_ms = await rate(work, daemon)
        print(f"  {name:20} {calls:8.0f} a second, {cpu_ms:6.2f} ms of the daemon's CPU each")


async def measure_memory(client: Client, daemon: Daemon) -> None:
    assert daemon.process is not None
    before = pss_kib([daemon.process.pid])
    for start in range(0, OBJECTS, 100):
        numbers = range(start, start + 100)
        await asyncio.gather(*(client.call("POST", CONFIGS, config(f"m{number:05}")) for number in numbers))
    after = pss_kib([daemon.process.pid])
    print(f"  memory: {before / 1024:.0f} MiB, with {OBJECTS} more ConfigMaps {after / 1024:.0f} MiB")


async def run(daemon: Daemon) -> None:
    client = Client(daemon)
    try:
        await measure_rates(client, daemon)
        await measure_memory(client, daemon)
    finally:
        await client.session.close()


def main() -> None:
    print("API")
    with tempfile.TemporaryDirectory(prefix="podhost-bench-") as root, running_daemon(Path(root)) as daemon:
        watch_delay.report(daemon)
        asyncio.run(run(daemon))

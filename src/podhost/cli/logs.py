"""``podhost logs``: one container's log, or those of all containers of pods in the order of time."""

from __future__ import annotations

import argparse
import queue
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from podhost.cli.failure import HintedError
from podhost.cli.log_follow import Arrived, LinePrinter, LogFollower, LogSource, sources_of
from podhost.cli.log_merge import merge_sorted
from podhost.cli.pod_watch import Lost, Seen, Watcher
from podhost.cli.session import connect, namespace_of
from podhost.client import ApiClient, ApiStatusError, resource_path

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pods", nargs="+", metavar="POD", help="one pod, or several")
    parser.add_argument("-c", "--container", metavar="NAME", help="only this container")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines are written")
    parser.add_argument("-p", "--previous", action="store_true", help="the container's run before this one")
    parser.add_argument("--tail", type=int, metavar="N", help="only the last N lines of each container")
    parser.add_argument("--since", metavar="TIME", help="only lines since then: 30s, 5m, 2h, or an RFC 3339 time")
    parser.add_argument("--timestamps", action="store_true", help="begin each line with its time")


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    namespace = namespace_of(args, client)
    query: dict[str, Any] = {"tailLines": args.tail, "previous": args.previous or None, **since_query(args.since)}
    pods = [_get_pod(client, namespace, name.removeprefix("pod/")) for name in args.pods]
    sources = [source for pod in pods for source in _sources(pod, args.container)]
    if len(sources) == 1 and not args.follow:
        return _copy(client, sources[0], {**query, "timestamps": args.timestamps or None})
    names = [source.container if len(pods) == 1 else f"{source.pod}/{source.container}" for source in sources]
    printer = LinePrinter(prefixes=len(sources) > 1, timestamps=args.timestamps)
    if args.follow:
        return _follow(client, pods, sources, names, query, printer)
    streams, refused = _open_all(client, sources, query)
    for line in merge_sorted(streams):
        printer.write(line, names[line.source])
    printer.flush()
    if len(refused) == len(sources):
        raise refused[0]
    for error in refused:
        print(f"podhost: {error}", file=sys.stderr)
    return 0


def since_query(text: str | None) -> dict[str, str | int]:
    """``sinceSeconds`` or ``sinceTime`` of the API.  Raises HintedError for what is neither."""
    if not text:
        return {}
    if re.fullmatch(r"(\d+[smhd])+", text):
        return {"sinceSeconds": sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([smhd])", text))}
    if re.match(r"\d{4}-\d\d-\d\dT", text):
        return {"sinceTime": text}
    raise HintedError(
        f"cannot understand --since '{text}'", "give a duration (30s, 5m, 2h) or a time (2026-01-31T12:00:00Z)"
    )


def _get_pod(client: ApiClient, namespace: str, name: str) -> dict[str, Any]:
    try:
        return client.get(resource_path("v1", "pods", namespace=namespace, name=name))
    except ApiStatusError as error:
        if error.code == 404:
            raise HintedError(
                f"cannot find the pod '{name}' in the namespace '{namespace}'", "see all: podhost ps -A"
            ) from error
        raise


def _sources(pod: Mapping[str, Any], container: str | None) -> list[LogSource]:
    spec = pod.get("spec") or {}
    names = [str(c["name"]) for key in ("initContainers", "containers") for c in spec.get(key) or []]
    if container is not None:
        if container not in names:
            raise HintedError(
                f"cannot find the container '{container}' in the pod '{pod['metadata']['name']}'",
                f"it has: {', '.join(names)}",
            )
        names = [container]
    metadata = pod["metadata"]
    return [LogSource(namespace=metadata["namespace"], pod=metadata["name"], container=name) for name in names]


def _copy(client: ApiClient, source: LogSource, query: Mapping[str, Any]) -> int:
    out = sys.stdout.buffer
    lines = client.stream_log(source.namespace, source.pod, source.container, **query)
    batch: list[bytes] = []
    for line in lines:
        batch.append(line)
        if len(batch) >= 4096:
            out.write(b"\n".join(batch) + b"\n")
            batch.clear()
    if batch:
        out.write(b"\n".join(batch) + b"\n")
    out.flush()
    return 0


def _open_all(
    client: ApiClient, sources: Sequence[LogSource], query: Mapping[str, Any]
) -> tuple[list[Any], list[ApiStatusError]]:
    """Streams of all sources; one that the server refuses (a container that has not started) is empty."""
    streams: list[Any] = []
    refused = []
    for source in sources:
        try:
            streams.append(client.stream_log(source.namespace, source.pod, source.container, timestamps=True, **query))
        except ApiStatusError as error:
            refused.append(error)
            streams.append(())
    return streams, refused


def _follow(
    client: ApiClient,
    pods: Sequence[Mapping[str, Any]],
    sources: Sequence[LogSource],
    names: Sequence[str],
    query: Mapping[str, Any],
    printer: LinePrinter,
) -> int:
    """Follow every run of the containers, also those that start later, until the pods have ended."""
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    follower = LogFollower(client, inbox, query={})
    wanted = {(source.pod, source.container): name for source, name in zip(sources, names, strict=True)}
    alive = {str(pod["metadata"]["uid"]) for pod in pods}
    watcher = Watcher(client, inbox)
    watcher.start("Pod", resource_path("v1", "pods", namespace=pods[0]["metadata"]["namespace"]))
    begun: set[str] = set()
    while alive or follower.open_streams:
        try:
            item = inbox.get(timeout=follower.merger.wait_s(time.monotonic()))
        except queue.Empty:
            item = None
        if isinstance(item, Arrived):
            follower.accept(item)
        elif isinstance(item, Lost):
            raise item.error
        elif isinstance(item, Seen):
            _on_pod(item, alive, wanted, follower, {} if _uid(item) in begun else query)
            begun.add(_uid(item))
        _print(follower, printer, wanted, follower.merger.pop_ready(time.monotonic()))
    watcher.stop()
    _print(follower, printer, wanted, follower.merger.flush())
    return 0


def _uid(seen: Seen) -> str:
    return str(seen.object["metadata"]["uid"])


def _on_pod(
    seen: Seen,
    alive: set[str],
    wanted: Mapping[tuple[str, str], str],
    follower: LogFollower,
    query: Mapping[str, Any],
) -> None:
    uid = _uid(seen)
    if uid not in alive:
        return
    for source in [] if seen.deleted else sources_of(seen.object):
        if (source.pod, source.container) in wanted:
            follower.follow(source, **query)
    if seen.deleted or (seen.object.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        alive.discard(uid)


def _print(
    follower: LogFollower, printer: LinePrinter, wanted: Mapping[tuple[str, str], str], lines: Sequence[Any]
) -> None:
    for line in lines:
        source = follower.source(line.source)
        printer.write(line, wanted[source.pod, source.container])
    if lines:
        printer.flush()

"""``podhost logs``: one container's log, or those of all containers of pods in the order of time."""

from __future__ import annotations

import argparse
import queue
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from podhost.api.objects import is_terminal
from podhost.cli.failure import HintedError
from podhost.cli.log_follow import Arrived, LinePrinter, LogFollower, LogSource, sources_of
from podhost.cli.log_merge import LogLine, merge_sorted
from podhost.cli.pod_watch import Lost, Seen, Watcher
from podhost.cli.session import connect, is_local, namespace_of, serves_podhost
from podhost.cli.terminal import has_colour, say
from podhost.client import ApiClient, ApiStatusError, resource_path

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SECTIONS = ("initContainers", "containers", "ephemeralContainers")
_STREAMS = {"stdout": "Stdout", "stderr": "Stderr"}
_EXAMPLES = """\
On a terminal what came from stderr is red.  Another cluster tells the streams apart only where its feature
gate PodLogsQuerySplitStreams is on.

examples:
  podhost logs web                         all containers, in the order of time
  podhost logs web -c app -f               one container, and go on
  podhost logs web db -f --tail 5          several pods
  podhost logs -l app=shop -f              pods by label, also those that come later
  podhost logs web -c app --previous       the run before the last restart
  podhost logs web --since 10m --timestamps
  podhost logs web --stream stderr         only what went to stderr
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("pods", nargs="*", metavar="POD", help="one pod, or several")
    parser.add_argument("-l", "--selector", metavar="LABELS", help="pods with these labels")
    parser.add_argument("-c", "--container", metavar="NAME", help="only this container")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines are written")
    parser.add_argument("-p", "--previous", action="store_true", help="the container's run before this one")
    parser.add_argument("--tail", type=int, metavar="N", help="only the last N lines of each container")
    parser.add_argument("--since", metavar="TIME", help="only lines since then: 30s, 5m, 2h, or an RFC 3339 time")
    parser.add_argument("--stream", choices=tuple(_STREAMS), help="only what went there")
    parser.add_argument("--timestamps", action="store_true", help="begin each line with its time")


def run(args: argparse.Namespace) -> int:
    if bool(args.pods) == bool(args.selector):
        raise HintedError("cannot choose pods: give names, or labels with -l", "see all: podhost ps --show-labels")
    return _Logs(connect(args), args).run()


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


class _Logs:
    """One call of the command."""

    def __init__(self, client: ApiClient, args: argparse.Namespace) -> None:
        self._client = client
        self._args = args
        self._namespace = namespace_of(args, client)
        self._apart = self._tells_streams_apart()
        self._query: dict[str, Any] = {"previous": args.previous or None, **since_query(args.since)}
        self._keep_last: int | None = None
        if args.tail is not None and args.stream:
            if args.follow:
                raise HintedError(
                    "cannot follow the end of one stream: the API knows no --tail with --stream",
                    "say since when instead: --since 1m",
                )
            self._keep_last = args.tail
        else:
            self._query["tailLines"] = args.tail

    def run(self) -> int:
        pods = self._find_pods()
        sources = [source for pod in pods for source in self._sources(pod)]
        if pods and not sources:
            raise self._no_such_container(pods[0])
        several = bool(self._args.selector) or len(pods) > 1
        containers = {(source.pod, source.container) for source in sources}
        if len(sources) == 1 and not self._args.follow and self._keep_last is None:
            return self._copy(sources[0])
        printer = LinePrinter(prefixes=several or len(containers) > 1, timestamps=self._args.timestamps)
        if self._args.follow:
            return _Following(self._client, self._args, printer, self._query, self._parts).run(
                self._namespace, pods, several=several
            )
        return self._print_all(sources, printer, several=several)

    def _tells_streams_apart(self) -> bool:
        """By colour: so only where there is colour, and where the server can."""
        if self._args.stream:
            if not is_local(self._args) and not serves_podhost(self._args, self._client):
                say("this server tells stdout and stderr apart only with its feature gate PodLogsQuerySplitStreams")
            return False
        return self._args.tail is None and has_colour(sys.stdout) and serves_podhost(self._args, self._client)

    def _find_pods(self) -> list[dict[str, Any]]:
        if not self._args.selector:
            return [self._get_pod(name.removeprefix("pod/")) for name in self._args.pods]
        path = resource_path("v1", "pods", namespace=self._namespace)
        found: list[dict[str, Any]] = self._client.list(path, labelSelector=self._args.selector)["items"]
        if not found and not self._args.follow:
            raise HintedError(
                f"cannot find a pod with the labels '{self._args.selector}' in the namespace '{self._namespace}'",
                "see what there is: podhost ps -A --show-labels",
            )
        return found

    def _get_pod(self, name: str) -> dict[str, Any]:
        try:
            return self._client.get(resource_path("v1", "pods", namespace=self._namespace, name=name))
        except ApiStatusError as error:
            if error.code == 404:
                raise HintedError(
                    f"cannot find the pod '{name}' in the namespace '{self._namespace}'", "see all: podhost ps -A"
                ) from error
            raise

    def _no_such_container(self, pod: Mapping[str, Any]) -> HintedError:
        containers = [str(each["name"]) for key in _SECTIONS for each in pod["spec"].get(key) or []]
        name = pod["metadata"]["name"]
        return HintedError(
            f"cannot find the container '{self._args.container}' in the pod '{name}'",
            f"it has: {', '.join(containers)}",
        )

    def _sources(self, pod: Mapping[str, Any]) -> list[LogSource]:
        spec, metadata = pod.get("spec") or {}, pod["metadata"]
        names = [str(c["name"]) for key in _SECTIONS for c in spec.get(key) or []]
        if self._args.container is not None:
            names = [name for name in names if name == self._args.container]
        whole = [LogSource(namespace=metadata["namespace"], pod=metadata["name"], container=name) for name in names]
        return [part for source in whole for part in self._parts(source)]

    def _parts(self, source: LogSource) -> tuple[LogSource, ...]:
        if self._args.stream:
            return (replace(source, stream=_STREAMS[self._args.stream]),)
        return source.split() if self._apart else (source,)

    def _read(self, source: LogSource, **query: Any) -> Iterable[bytes]:
        return self._client.stream_log(
            source.namespace, source.pod, source.container, stream=source.stream or None, **self._query, **query
        )

    def _copy(self, source: LogSource) -> int:
        """As fast as it comes: nothing is merged or marked."""
        out = sys.stdout.buffer
        batch: list[bytes] = []
        try:
            lines = self._read(source, timestamps=self._args.timestamps or None)
        except ApiStatusError as error:
            raise _explain(source.pod, error) from error
        for line in lines:
            batch.append(line)
            if len(batch) >= 4096:
                out.write(b"\n".join(batch) + b"\n")
                batch.clear()
        if batch:
            out.write(b"\n".join(batch) + b"\n")
        out.flush()
        return 0

    def _print_all(self, sources: Sequence[LogSource], printer: LinePrinter, *, several: bool) -> int:
        """All logs to their ends; a container that the server refuses (it has not started) is told at the end."""
        streams: list[Iterable[bytes]] = []
        refused: dict[tuple[str, str], ApiStatusError] = {}
        for source in sources:
            try:
                lines = self._read(source, timestamps=True)
                streams.append(lines if self._keep_last is None else deque(lines, maxlen=self._keep_last))
            except ApiStatusError as error:
                refused[source.pod, source.container] = error
                streams.append(())
        for line in merge_sorted(streams):
            source = sources[line.source]
            printer.write(line, _label(source, several=several), source.stream)
        printer.flush()
        if len(refused) == len({(source.pod, source.container) for source in sources}):
            raise _explain(sources[0].pod, next(iter(refused.values())))
        for refusal in refused.values():
            print(f"podhost: {refusal}", file=sys.stderr)
        return 0


def _explain(pod: str, error: ApiStatusError) -> HintedError:
    return HintedError(f"cannot read the log: {error}", f"see why: podhost describe {pod}")


def _label(source: LogSource, *, several: bool) -> str:
    return f"{source.pod}/{source.container}" if several else source.container


class _Following:
    """Every run of the containers, also those that start later, until the pods have ended."""

    def __init__(
        self,
        client: ApiClient,
        args: argparse.Namespace,
        printer: LinePrinter,
        query: Mapping[str, Any],
        parts: Any,
    ) -> None:
        self._client = client
        self._args = args
        self._printer = printer
        self._query = dict(query)
        self._parts = parts
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._follower = LogFollower(client, self._inbox, query={})
        self._several = False
        self._alive: set[str] = set()
        self._begun: set[str] = set()

    def run(self, namespace: str, pods: Sequence[Mapping[str, Any]], *, several: bool) -> int:
        self._several = several
        self._alive = {str(pod["metadata"]["uid"]) for pod in pods}
        watcher = Watcher(self._client, self._inbox)
        path = resource_path("v1", "pods", namespace=namespace)
        watcher.start("Pod", path, labelSelector=self._args.selector)
        merger = self._follower.merger
        # With a selector, the first answer may bring pods that were not there before.
        while self._alive or self._follower.open_streams or (self._args.selector and not self._begun):
            try:
                self._take(self._inbox.get(timeout=merger.wait_s(time.monotonic())))
            except queue.Empty:
                pass
            self._print(merger.pop_ready(time.monotonic()))
        watcher.stop()
        self._print(merger.flush())
        return 0

    def _take(self, item: object) -> None:
        if isinstance(item, Arrived):
            self._follower.accept(item)
        elif isinstance(item, Lost):
            raise item.error
        elif isinstance(item, Seen):
            self._on_pod(item)

    def _on_pod(self, seen: Seen) -> None:
        uid = str(seen.object["metadata"]["uid"])
        if self._args.selector and uid not in self._begun and not seen.deleted:
            self._alive.add(uid)
        if uid not in self._alive:
            return
        query = {} if uid in self._begun else self._query
        self._begun.add(uid)
        for source in [] if seen.deleted else sources_of(seen.object):
            if self._args.container in (None, source.container):
                for part in self._parts(source):
                    self._follower.follow(part, **query)
        if seen.deleted or is_terminal(seen.object):
            self._alive.discard(uid)

    def _print(self, lines: Sequence[LogLine]) -> None:
        for line in lines:
            source = self._follower.source(line.source)
            self._printer.write(line, _label(source, several=self._several), source.stream)
        if lines:
            self._printer.flush()

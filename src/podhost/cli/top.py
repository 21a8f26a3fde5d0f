"""``podhost top``: what pods and their containers use, now."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any
from urllib.parse import urlencode

from podhost.cli.channels import needs_ascii
from podhost.cli.failure import HintedError
from podhost.cli.session import connect, namespace_of
from podhost.cli.terminal import choose_size, has_colour, paint, say
from podhost.cli.top_view import View, build_rows, cut_lines, draw_machine, draw_table, sort_groups
from podhost.client import ApiClient, ApiStatusError, resource_path

_OWN = "podhost.dev/v1alpha1"
_METRICS = "metrics.k8s.io/v1beta1"
_PIPE_WIDTH = 160
_INTERVAL_S = 2.0
_EXAMPLES = """\
examples:
  podhost top                         pods by the processor time they use
  podhost top web --containers -w     live, the containers of one pod
  podhost top -A --sort memory
  podhost top -o json | jq '.items[].containers[].io'
  podhost --context prod top          any cluster with metrics-server
"""

Document = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("pod", metavar="POD", nargs="?", help="only this pod")
    parser.add_argument("-c", "--containers", action="store_true", help="a line for each container, too")
    parser.add_argument("-w", "--watch", action="store_true", help="draw again and again, until Ctrl-C")
    parser.add_argument("--interval", type=float, default=_INTERVAL_S, metavar="SECONDS", help="with --watch")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="pods of all namespaces")
    parser.add_argument("-l", "--selector", metavar="LABELS", help="only pods with these labels")
    parser.add_argument("--sort", choices=("cpu", "memory", "io", "name"), default="cpu", help="default: cpu")
    parser.add_argument("-o", "--output", choices=("json",), help="the resources instead of a table")
    parser.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")


def run(args: argparse.Namespace) -> int:
    source = Source(connect(args), args)
    if args.watch:
        return _watch(source, args)
    documents = source.fetch()
    if args.output:
        print(json.dumps(_as_list(documents, source.api_version), indent=2, ensure_ascii=False))
        return 0
    if not documents:
        say(source.explain_nothing())
        return 0
    print("\n".join(_draw(source, documents, args, live=False)))
    if not source.counts_io:
        say("without bytes read and written, and without processes: only podhost's own server counts them")
    return 0


class Source:
    """Where usage comes from: podhost's PodStats, or the metrics of any cluster."""

    def __init__(self, client: ApiClient, args: argparse.Namespace) -> None:
        self._client = client
        self._args = args
        self._namespace = "" if args.all_namespaces else namespace_of(args, client)
        self.api_version = _OWN

    @property
    def counts_io(self) -> bool:
        return self.api_version == _OWN

    def fetch(self) -> list[Document]:
        """PodStats, or PodMetrics where there are none.

        Raises:
            HintedError: The cluster has no metrics-server.
            ApiStatusError: There is no such pod.
        """
        try:
            return self._fetch("podstats" if self.counts_io else "pods")
        except ApiStatusError as error:
            if _is_idle_pod(error):
                return []
            if not _is_unknown_kind(error):
                raise
            if not self.counts_io:
                raise HintedError(
                    "cannot see what pods use: this cluster does not serve metrics.k8s.io",
                    "install metrics-server there, or ask podhost on this machine: leave --context out",
                ) from error
        self.api_version = _METRICS
        return self.fetch()

    def fetch_pods(self) -> dict[tuple[str, str], Document]:
        """The Pod objects, for their limits."""
        found = self._get("v1", "pods")
        return {(each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in found}

    def fetch_machine(self) -> str:
        """A line about the node where there is one only; empty otherwise."""
        nodes = self._client.get(resource_path("v1", "nodes")).get("items") or []
        if len(nodes) != 1:
            return ""
        name = nodes[0]["metadata"]["name"]
        try:
            return draw_machine(nodes[0], self._client.get(resource_path(_METRICS, "nodes", name=name)))
        except ApiStatusError:
            return ""

    def explain_nothing(self) -> str:
        if self._args.pod:
            return f"pod '{self._args.pod}' has no running container"
        where = f" in namespace '{self._namespace}'" if self._namespace else ""
        return f"no pod runs{where}"

    def _fetch(self, plural: str) -> list[Document]:
        return self._get(self.api_version, plural)

    def _get(self, api_version: str, plural: str) -> list[Document]:
        if self._args.pod:
            name = self._args.pod.removeprefix("pod/")
            path = resource_path(api_version, plural, namespace=self._namespace or "default", name=name)
            return [self._client.get(path)]
        path = resource_path(api_version, plural, namespace=self._namespace)
        if self._args.selector:
            path += "?" + urlencode({"labelSelector": self._args.selector})
        return list(self._client.get(path).get("items") or [])


def _is_unknown_kind(error: ApiStatusError) -> bool:
    """The path does not exist; a pod that does not exist is named in the details."""
    return error.code == 404 and not (error.status.get("details") or {}).get("name")


def _is_idle_pod(error: ApiStatusError) -> bool:
    """The pod exists, and nothing of it can be measured."""
    kind = (error.status.get("details") or {}).get("kind")
    return error.code == 404 and kind in ("podstats", "podmetrics")


def _as_list(documents: list[Document], api_version: str) -> Document:
    kind = "PodStatsList" if api_version == _OWN else "PodMetricsList"
    return {"kind": kind, "apiVersion": api_version, "metadata": {}, "items": documents}


def _draw(source: Source, documents: list[Document], args: argparse.Namespace, *, live: bool) -> list[str]:
    pods = source.fetch_pods()
    groups = [
        build_rows(
            each,
            pods.get((each["metadata"].get("namespace", ""), each["metadata"]["name"])),
            containers=args.containers,
        )
        for each in documents
    ]
    rows = [row for group in sort_groups(groups, args.sort) for row in group]
    view = View(
        width=choose_size(pipe_width=_PIPE_WIDTH).columns,
        colour=has_colour(sys.stdout),
        namespaces=bool(args.all_namespaces),
        ascii=needs_ascii(args),
        live=live,
    )
    return draw_table(rows, view)


def _watch(source: Source, args: argparse.Namespace) -> int:
    """The kernel has no event for time that passes: a person who looks asks again.  Nobody else pays for it."""
    screen = sys.stdout.isatty() and not args.output
    while True:
        documents = source.fetch()
        if args.output:
            print(json.dumps(_as_list(documents, source.api_version), ensure_ascii=False), flush=True)
        elif screen:
            _show_screen(source, documents, args)
        else:
            lines = _draw(source, documents, args, live=False) if documents else [source.explain_nothing()]
            print("\n".join([*lines, ""]), flush=True)
        time.sleep(max(args.interval, 0.1))


def _show_screen(source: Source, documents: list[Document], args: argparse.Namespace) -> None:
    """Over what was there, line by line: clearing it first would flicker."""
    size = choose_size(pipe_width=_PIPE_WIDTH)
    head = [source.fetch_machine()[: size.columns], ""]
    if not source.counts_io:
        head[1] = paint(
            "without I/O and processes: only podhost's own server counts them"[: size.columns],
            "grey",
            enabled=has_colour(sys.stdout),
        )
    body = _draw(source, documents, args, live=True) if documents else [source.explain_nothing()]
    lines = [*head, *cut_lines(body, size.lines - len(head) - 1)]
    sys.stdout.write("\x1b[H" + "\n".join(f"{line}\x1b[K" for line in lines) + "\n\x1b[J")
    sys.stdout.flush()

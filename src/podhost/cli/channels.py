"""``podhost channels``: how the containers of a pod talk, drawn."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from podhost.channels.graph import API_VERSION, ChannelGraph, read_document
from podhost.cli.failure import HintedError
from podhost.cli.session import connect, namespace_of
from podhost.cli.terminal import choose_size, has_colour, has_unicode, say
from podhost.client import ApiClient, ApiStatusError, resource_path

_PIPE_WIDTH = 100
_DEFAULT_INTERVAL_S = 1.0
_EXAMPLES = """\
examples:
  podhost channels mc3                     containers as boxes, channels as lines, problems marked
  podhost channels mc3 --watch             again and again, until Ctrl-C
  podhost channels mc3 -o json | jq .problems
  podhost channels mc3 --svg mc3.svg       a picture
  podhost channels mc3 --dot | dot -Tpng -o mc3.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("pod", metavar="POD")
    parser.add_argument("-w", "--watch", action="store_true", help="draw again whenever a second has passed")
    parser.add_argument("--interval", type=float, default=_DEFAULT_INTERVAL_S, metavar="SECONDS", help="with --watch")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("-o", "--output", choices=("json", "yaml"), help="the resource instead of a drawing")
    form.add_argument("--svg", nargs="?", const="-", metavar="FILE", help="as SVG, into FILE or to stdout")
    form.add_argument("--dot", nargs="?", const="-", metavar="FILE", help="as Graphviz, into FILE or to stdout")
    parser.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
    parser.add_argument("--width", type=int, metavar="COLUMNS", help="width of the drawing (default: the terminal's)")


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    namespace = namespace_of(args, client)
    if args.watch:
        return _watch(args, client, namespace)
    document = fetch_document(client, namespace, args.pod)
    text, file = render(document, args)
    if file not in ("", "-"):
        Path(file).write_text(text, encoding="utf-8")
        say(f"wrote {file}")
    else:
        print(text.rstrip("\n"))
    return 0


def fetch_document(client: ApiClient, namespace: str, pod: str, *, trace_s: float = 0.0) -> dict[str, Any]:
    """The ``PodChannels`` of a pod; with ``trace_s`` podhost watches so many seconds before it answers.

    Raises:
        HintedError: The server is not podhost.
        ApiStatusError: There is no such pod.
    """
    path = resource_path(API_VERSION, "podchannels", namespace=namespace, name=pod.removeprefix("pod/"))
    try:
        return client.get(path, traceSeconds=f"{trace_s:g}") if trace_s else client.get(path)
    except ApiStatusError as error:
        if error.code == 404 and not (error.status.get("details") or {}).get("name"):
            raise HintedError(
                "cannot see the channels of a pod on this server: only podhost, which owns the pod's namespaces, can",
                "leave --context and --kubeconfig out to ask podhost on this machine",
            ) from error
        raise


def fetch_graph(args: argparse.Namespace, *, trace_s: float = 0.0) -> ChannelGraph:
    """For the commands that show a part of it."""
    client = connect(args)
    return read_document(fetch_document(client, namespace_of(args, client), args.pod, trace_s=trace_s))


def render(document: dict[str, Any], args: argparse.Namespace) -> tuple[str, str]:
    """(text, file to write it to or empty)."""
    if args.output == "json":
        return json.dumps(document, indent=2, ensure_ascii=False), ""
    if args.output == "yaml":
        import yaml

        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True), ""
    graph = read_document(document)
    if args.svg:
        from podhost.channels.svg import draw_svg

        return draw_svg(graph), args.svg
    if args.dot:
        from podhost.channels.dot import draw_dot

        return draw_dot(graph), args.dot
    from podhost.channels.drawing import Style, draw_graph

    return draw_graph(graph, choose_width(args), Style(ascii=needs_ascii(args), colour=has_colour(sys.stdout))), ""


def choose_width(args: argparse.Namespace) -> int:
    if getattr(args, "width", None):
        return int(args.width)
    return choose_size(pipe_width=_PIPE_WIDTH).columns


def needs_ascii(args: argparse.Namespace) -> bool:
    """Also where the output cannot show lines and boxes."""
    return getattr(args, "ascii", False) or not has_unicode(sys.stdout)


def cut_lines(text: str, most: int, pod: str) -> str:
    """What would push the beginning out of the screen is counted instead."""
    lines = text.split("\n")
    if len(lines) <= most:
        return text
    kept = max(most - 1, 1)
    return "\n".join([*lines[:kept], f"... {len(lines) - kept} more lines: podhost channels {pod}"])


def _watch(args: argparse.Namespace, client: ApiClient, namespace: str) -> int:
    """The kernel has no event for a new connection: a person who looks asks again.  Nobody else pays for it."""
    last = ""
    while True:
        text, _ = render(fetch_document(client, namespace, args.pod), args)
        if sys.stdout.isatty():
            height = choose_size(pipe_width=_PIPE_WIDTH).lines
            sys.stdout.write(f"\x1b[H\x1b[2J{cut_lines(text, height - 1, args.pod)}\n")
        elif text != last:
            sys.stdout.write(f"{text}\n\n" if args.output is None else f"{text}\n")
        sys.stdout.flush()
        last = text
        time.sleep(max(args.interval, 0.1))

"""``podhost diagnose``: what is wrong with the channels of a pod, with evidence and a suggestion for each."""

from __future__ import annotations

import argparse
import sys

import msgspec

from podhost.cli.channels import choose_width, fetch_graph, needs_ascii
from podhost.cli.output import print_document
from podhost.cli.terminal import has_colour, say

_TRACE_S = 1.0
_EXAMPLES = """\
exit codes:
  0    nothing is wrong
  1    there is a problem

examples:
  podhost diagnose mc3
  podhost diagnose mc3 -o json | jq '.[].code'
  podhost diagnose mc3 --trace 0           at once, without what only shows when one watches
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("pod", metavar="POD")
    parser.add_argument("-o", "--output", choices=("json", "yaml"), help="a document instead of text")
    parser.add_argument(
        "--trace",
        type=float,
        default=_TRACE_S,
        metavar="SECONDS",
        help="how long to watch for readers of queues that nobody made (1)",
    )


def run(args: argparse.Namespace) -> int:
    from podhost.channels.drawing import Style, draw_problems

    graph = fetch_graph(args, trace_s=args.trace)
    if args.output:
        print_document(msgspec.to_builtins(graph.problems), args.output)
    elif graph.problems:
        style = Style(ascii=needs_ascii(args), colour=has_colour(sys.stdout))
        print("\n".join(draw_problems(graph, choose_width(args), style)).lstrip("\n"))
    else:
        say(f"nothing is wrong with the channels of {graph.namespace}/{graph.name}", mark="✓", colour="green")
    for gap in graph.gaps:
        say(gap, mark="!", colour="yellow")
    return 1 if graph.problems else 0

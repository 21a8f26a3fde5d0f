"""``podhost ports``: who listens where in a pod; the short answer."""

from __future__ import annotations

import argparse

import msgspec

from podhost.channels.graph import ChannelGraph
from podhost.cli.channels import fetch_graph
from podhost.cli.output import print_document
from podhost.cli.terminal import format_table, say

_HEADER = ("CONTAINER", "PROTOCOL", "ADDRESS", "PORT", "PROCESS", "PID", "DECLARED", "SERVICES")
_ABOUT_PORTS = ("port-", "service-target-", "probe-port-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  podhost ports mc3\n  podhost ports mc3 -o json | jq '.[].port'\n"
    parser.add_argument("pod", metavar="POD")
    parser.add_argument("-o", "--output", choices=("json", "yaml"), help="a document instead of text")


def run(args: argparse.Namespace) -> int:
    graph = fetch_graph(args)
    if args.output:
        print_document(msgspec.to_builtins(graph.listeners), args.output)
        return 0
    if graph.listeners:
        print(format_ports(graph))
    else:
        say("nobody listens in this pod")
    for problem in graph.problems:
        if problem.code.startswith(_ABOUT_PORTS):
            colour = "red" if problem.severity == "error" else "yellow"
            say(problem.message, mark="✗" if problem.severity == "error" else "!", colour=colour)
    return 0


def format_ports(graph: ChannelGraph) -> str:
    """A table, one listener a line."""
    rows = [
        (
            one.container or "<none>",
            one.protocol.upper(),
            one.address,
            one.port,
            one.process or "<none>",
            one.pid or "<none>",
            (one.port_name or "yes") if one.declared else "no",
            ",".join(one.services) or "<none>",
        )
        for one in graph.listeners
    ]
    return format_table(_HEADER, rows)

"""``podhost describe``: all about one object, what matters first."""

from __future__ import annotations

import argparse
import sys
import time

from podhost.cli.describe_pod import describe_pod
from podhost.cli.describe_text import describe_object
from podhost.cli.events import build_selector, order_of
from podhost.cli.named_objects import Named, fetch_named
from podhost.cli.output import print_document
from podhost.cli.port_holders import find_port_holders
from podhost.cli.session import connect, namespace_of
from podhost.cli.terminal import has_colour
from podhost.cli.verdict import Verdict, compute_verdict
from podhost.client import ApiClient, ApiStatusError, resource_path
from podhost.errors import PodhostError

_LOG_LINES = 5
_EXAMPLES = """\
A pod begins with what is wrong with it, the last lines of its log and the next step.

examples:
  podhost describe web
  podhost describe pod/web service/web node/$(hostname)
  podhost describe web -o yaml             the object as the server has it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("targets", nargs="+", metavar="POD|KIND/NAME", help="pods, or anything: service/web, node/vm …")
    parser.add_argument("-o", "--output", choices=("json", "yaml"), help="the objects themselves")


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    namespace = namespace_of(args, client)
    for index, word in enumerate(args.targets):
        target = fetch_named(client, word, namespace)
        if args.output:
            if index and args.output == "yaml":
                print("---")
            print_document(target.object, args.output)
            continue
        if index:
            print("\n")
        print("\n".join(_describe(client, target)))
    return 0


def _describe(client: ApiClient, target: Named) -> list[str]:
    events = _fetch_events(client, target)
    colour = has_colour(sys.stdout)
    if target.kind != "Pod":
        return describe_object(target.kind, target.object, events, time.time(), colour=colour)
    verdict = compute_verdict(target.object, events)
    log = _read_tail(client, target, verdict)
    holders = _find_port_holders(client, target, verdict)
    return describe_pod(target.object, events, verdict, time.time(), log=log, port_holders=holders, colour=colour)


def _find_port_holders(client: ApiClient, target: Named, verdict: Verdict) -> list[str]:
    if verdict.reason != "Unschedulable" or "free ports" not in verdict.text:
        return []
    try:
        return find_port_holders(target.object, client.list(resource_path("v1", "pods"))["items"])
    except ApiStatusError:
        # Who may read this pod need not see those of other namespaces.
        return []


def _fetch_events(client: ApiClient, target: Named) -> list[dict[str, object]]:
    # Events of what has no namespace are in default.
    path = resource_path("v1", "events", namespace=target.namespace or "default")
    found = client.list(path, fieldSelector=build_selector(target.kind, target.name, None))["items"]
    uid = target.object["metadata"].get("uid")
    # A node's own events bear its name as uid.
    own = [event for event in found if event["involvedObject"].get("uid") in (None, "", uid, target.name)]
    return sorted(own, key=order_of)


def _read_tail(client: ApiClient, target: Named, verdict: Verdict) -> list[str]:
    if not verdict.container or verdict.state == "waiting":
        return []
    query = {"tailLines": _LOG_LINES, "previous": verdict.previous_log}
    try:
        lines = list(client.stream_log(target.namespace, target.name, verdict.container, **query))
    except PodhostError:
        return []
    return [line.decode(errors="replace") for line in lines]

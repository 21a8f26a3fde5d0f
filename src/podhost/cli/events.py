"""``podhost events``: what has happened, oldest first; and on as it happens."""

from __future__ import annotations

import argparse
import json
import queue
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from podhost.cli.failure import HintedError
from podhost.cli.kinds import find_resource
from podhost.cli.output import print_document
from podhost.cli.pod_watch import Lost, Seen, Watcher
from podhost.cli.session import connect, namespace_of
from podhost.cli.terminal import clean_text, format_age, format_table, has_colour, paint, say
from podhost.client import ApiClient, resource_path

Event = Mapping[str, Any]

_EXAMPLES = """\
examples:
  podhost events                           of the namespace, oldest first
  podhost events web -f                    of one pod, and go on
  podhost events -A --types Warning        only what went wrong
  podhost events service/web -o json | jq '.items[].message'
"""
_FOLLOW_WIDTHS = (10, 8, 18, 24)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("target", nargs="?", metavar="POD|KIND/NAME", help="only about this")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.add_argument("-f", "--follow", "-w", "--watch", action="store_true", help="go on as events happen")
    parser.add_argument("--types", choices=("Normal", "Warning"), help="only of this type")
    parser.add_argument(
        "-o", "--output", choices=("wide", "json", "yaml"), help="container, count and source too; or documents"
    )


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    namespace = "" if args.all_namespaces else namespace_of(args, client)
    path = resource_path("v1", "events", namespace=namespace)
    selector = build_selector(*_find_target(client, args.target), args.types)
    if args.follow:
        return _follow(client, path, selector, args)
    items = sorted(client.list(path, fieldSelector=selector)["items"], key=order_of)
    if args.output in ("json", "yaml"):
        complete = [{"apiVersion": "v1", "kind": "Event", **item} for item in items]
        print_document({"apiVersion": "v1", "kind": "EventList", "metadata": {}, "items": complete}, args.output)
    elif items:
        print(format_events(items, time.time(), wide=args.output == "wide", with_namespace=args.all_namespaces))
    else:
        say("no events" + (f" in the namespace {namespace}" if namespace else "") + "; they are kept for an hour")
    return 0


def _find_target(client: ApiClient, word: str | None) -> tuple[str, str]:
    """Kind and name; either may be empty.  Raises HintedError for a kind that the server does not have."""
    if not word:
        return "", ""
    kind, slash, name = word.partition("/")
    if not slash:
        return "", word
    found = find_resource(client, kind)
    if found is None:
        raise HintedError(f"cannot find events of '{word}': the server has no kind '{kind}'")
    return found[1], name


def build_selector(kind: str, name: str, event_type: str | None) -> str | None:
    """A field selector for events; what is empty chooses nothing."""
    wanted = {"involvedObject.kind": kind, "involvedObject.name": name, "type": event_type}
    return ",".join(f"{field}={value}" for field, value in wanted.items() if value) or None


def last_time(event: Event) -> str:
    """When it happened last, as text that sorts; without one the time of its making."""
    series = event.get("series") or {}
    candidates = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(
        next((each for each in candidates if each), (event.get("metadata") or {}).get("creationTimestamp") or "")
    )


def order_of(event: Event) -> tuple[str, int]:
    """Oldest first; of one second, by the version in which they were written last."""
    version = str((event.get("metadata") or {}).get("resourceVersion") or "")
    return last_time(event)[:19], int(version) if version.isdigit() else 0


def format_events(events: Sequence[Event], now_s: float, *, wide: bool = False, with_namespace: bool = False) -> str:
    """A table, oldest first."""
    header = ["LAST SEEN", "TYPE", "REASON", "OBJECT", *(["CONTAINER", "COUNT", "SOURCE"] if wide else []), "MESSAGE"]
    rows = []
    for event in events:
        more = [container_of(event) or "<none>", event.get("count") or 1, _source(event)] if wide else []
        row = [_age(event, now_s), event.get("type", ""), event.get("reason", ""), _object(event), *more]
        row.append(clean_text(str(event.get("message", ""))))
        rows.append([event["metadata"].get("namespace", ""), *row] if with_namespace else row)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows)


def format_own_events(events: Sequence[Event], now_s: float) -> str:
    """Of one object: a table without its name; the container, where one is meant."""
    with_container = any(container_of(event) for event in events)
    rows = []
    for event in events:
        middle = [container_of(event) or "<none>"] if with_container else []
        row = [_age(event, now_s), event.get("type", ""), event.get("reason", ""), *middle]
        rows.append([*row, clean_text(str(event.get("message", "")))])
    return format_table(["LAST SEEN", "TYPE", "REASON", *(["CONTAINER"] if with_container else []), "MESSAGE"], rows)


def container_of(event: Event) -> str:
    """``web`` of ``spec.containers{web}``; empty when the event is about the whole object."""
    path = str((event.get("involvedObject") or {}).get("fieldPath") or "")
    return path.partition("{")[2].removesuffix("}")


def _object(event: Event) -> str:
    involved = event.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _source(event: Event) -> str:
    return str((event.get("source") or {}).get("component") or event.get("reportingComponent") or "<none>")


def _age(event: Event, now_s: float) -> str:
    try:
        then = datetime.fromisoformat(last_time(event).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return "<unknown>"
    count = int(event.get("count") or 1)
    age = format_age(now_s - then)
    return f"{age} (x{count})" if count > 1 else age


def _follow(client: ApiClient, path: str, selector: str | None, args: argparse.Namespace) -> int:
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    Watcher(client, inbox).start("Event", path, fieldSelector=selector)
    seen: dict[str, str] = {}
    colour = has_colour(sys.stdout)
    while True:
        item = inbox.get()
        if isinstance(item, Lost):
            raise item.error
        if not isinstance(item, Seen) or item.deleted:
            continue
        # After a broken connection everything is listed again.
        uid, version = str(item.object["metadata"]["uid"]), str(item.object["metadata"].get("resourceVersion"))
        if seen.get(uid) == version:
            continue
        seen[uid] = version
        if args.output in ("json", "yaml"):
            document = {"apiVersion": "v1", "kind": "Event", **item.object}
            if args.output == "json":
                print(json.dumps(document, ensure_ascii=False), flush=True)
            else:
                print("---")
                print_document(document, "yaml")
                sys.stdout.flush()
        else:
            print(format_event(item.object, colour=colour, with_namespace=args.all_namespaces), flush=True)


def format_event(event: Event, *, colour: bool, with_namespace: bool = False) -> str:
    """One line with the time of day, for following."""
    clock = last_time(event)
    try:
        clock = datetime.fromisoformat(clock.replace("Z", "+00:00")).astimezone().strftime("%H:%M:%S")
    except ValueError:
        pass
    name = _object(event) + (f"/{container_of(event)}" if container_of(event) else "")
    if with_namespace:
        name = f"{event['metadata'].get('namespace', '')} {name}"
    cells = (clock, str(event.get("type", "")), str(event.get("reason", "")), name)
    text = " ".join(cell.ljust(width) for cell, width in zip(cells, _FOLLOW_WIDTHS, strict=True))
    line = f"{text} {clean_text(str(event.get('message', '')))}"
    return paint(line, "yellow", enabled=colour and event.get("type") == "Warning")

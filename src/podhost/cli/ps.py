"""``podhost ps``: pods, as the server prints them for kubectl."""

from __future__ import annotations

import argparse
from typing import Any

from podhost.cli.failure import HintedError
from podhost.cli.output import TABLE, print_document, render_table
from podhost.cli.session import connect, namespace_of
from podhost.cli.terminal import say
from podhost.client import ApiClient, resource_path

_EXAMPLES = """\
exit codes:
  0    also when there is no pod
  1    a pod that was named is not there, or the server does not answer

examples:
  podhost ps                               pods of the namespace
  podhost ps -A -o wide                    of all namespaces, with addresses and nodes
  podhost ps -l app=shop -o name           names for scripts
  podhost ps web -o yaml                   all about one pod
  podhost ps --field-selector status.phase=Failed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("pods", nargs="*", metavar="POD", help="only these")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="pods of all namespaces")
    parser.add_argument("-o", "--output", choices=("wide", "json", "yaml", "name"), help="more columns, or documents")
    parser.add_argument("-l", "--selector", metavar="LABELS", help="only pods with these labels")
    parser.add_argument("--field-selector", metavar="FIELDS", help="only pods with these fields: status.phase=Running")
    parser.add_argument("--show-labels", action="store_true", help="labels as the last column")


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    namespace = "" if args.all_namespaces else namespace_of(args, client)
    path = resource_path("v1", "pods", namespace=namespace)
    names = [name.removeprefix("pod/") for name in args.pods]
    if args.output in ("json", "yaml", "name"):
        return _print_documents(client, path, names, args)
    query = {"labelSelector": args.selector, "fieldSelector": args.field_selector}
    table = client.request("GET", path, query=query, accept=TABLE)
    rows = table.get("rows") or []
    if names:
        table["rows"] = rows = [row for row in rows if row["object"]["metadata"]["name"] in names]
        _require_all(names, [row["object"] for row in rows], namespace)
    if not rows:
        chosen = args.selector or args.field_selector
        where = f" in the namespace {namespace}" if namespace else ""
        say(f"no pods{where}" + (f" with {chosen}" if chosen else "; start one: podhost up FILE"))
        return 0
    print(
        render_table(
            table,
            wide=args.output == "wide",
            with_namespace=args.all_namespaces,
            with_labels=args.show_labels,
        )
    )
    return 0


def _print_documents(client: ApiClient, path: str, names: list[str], args: argparse.Namespace) -> int:
    listed = client.list(path, labelSelector=args.selector, fieldSelector=args.field_selector)
    items: list[dict[str, Any]] = listed["items"]
    if names:
        items = [item for item in items if item["metadata"]["name"] in names]
        _require_all(names, items, "" if args.all_namespaces else "its namespace")
    if args.output == "name":
        for item in items:
            print(f"pod/{item['metadata']['name']}")
        return 0
    # What is in a list has no kind of its own.
    complete = [{"apiVersion": "v1", "kind": "Pod", **item} for item in items]
    document: dict[str, Any] = {**listed, "items": complete}
    print_document(complete[0] if len(names) == 1 and len(complete) == 1 else document, args.output)
    return 0


def _require_all(names: list[str], objects: list[dict[str, Any]], namespace: str) -> None:
    found = {item["metadata"]["name"] for item in objects}
    missing = [name for name in names if name not in found]
    if missing:
        where = f" in the namespace '{namespace}'" if namespace and " " not in namespace else ""
        raise HintedError(f"cannot find the pod '{missing[0]}'{where}", "see all: podhost ps -A")

"""``podhost ps``: pods, as the server prints them for kubectl."""

from __future__ import annotations

import argparse
import json
from typing import Any

from podhost.cli.session import connect, namespace_of
from podhost.cli.terminal import format_table, say
from podhost.client import resource_path

_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="pods of all namespaces")
    parser.add_argument("-o", "--output", choices=("wide", "json", "name"), help="more columns, or JSON")
    parser.add_argument("-l", "--selector", metavar="LABELS", help="only pods with these labels")


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    namespace = "" if args.all_namespaces else namespace_of(args, client)
    path = resource_path("v1", "pods", namespace=namespace)
    query = {"labelSelector": args.selector}
    if args.output in ("json", "name"):
        listed = client.list(path, **query)
        if args.output == "json":
            print(json.dumps(listed, indent=2))
        else:
            print("\n".join(f"pod/{item['metadata']['name']}" for item in listed["items"]))
        return 0
    table = client.request("GET", path, query=query, accept=_TABLE)
    if not table.get("rows"):
        say("no pods" + (f" in the namespace {namespace}" if namespace else "") + "; start one: podhost up FILE")
        return 0
    print(render(table, wide=args.output == "wide", with_namespace=args.all_namespaces))
    return 0


def render(table: dict[str, Any], *, wide: bool, with_namespace: bool) -> str:
    """A ``meta.k8s.io/v1 Table`` as kubectl draws it."""
    columns = table["columnDefinitions"]
    chosen = [index for index, column in enumerate(columns) if wide or not column.get("priority")]
    header = [columns[index]["name"].upper() for index in chosen]
    rows = []
    for row in table["rows"]:
        cells = ["<none>" if row["cells"][index] in (None, "") else row["cells"][index] for index in chosen]
        metadata = (row.get("object") or {}).get("metadata") or {}
        rows.append([metadata.get("namespace", ""), *cells] if with_namespace else cells)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows)

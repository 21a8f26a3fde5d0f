"""``-o json`` and ``-o yaml``, and the tables of the server."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from podhost.cli.terminal import format_table

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def print_document(document: object, form: str) -> None:
    """``form`` is ``json`` or ``yaml``."""
    if form == "json":
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    sys.stdout.write(yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True, default_flow_style=False))


def render_table(table: Mapping[str, Any], *, wide: bool, with_namespace: bool, with_labels: bool = False) -> str:
    """A ``meta.k8s.io/v1 Table`` as kubectl draws it."""
    columns = table["columnDefinitions"]
    chosen = [index for index, column in enumerate(columns) if wide or not column.get("priority")]
    header = [columns[index]["name"].upper() for index in chosen]
    rows = []
    for row in table["rows"]:
        cells = ["<none>" if row["cells"][index] in (None, "") else row["cells"][index] for index in chosen]
        metadata = (row.get("object") or {}).get("metadata") or {}
        labels = ",".join(f"{key}={value}" for key, value in sorted((metadata.get("labels") or {}).items()))
        before = [metadata.get("namespace", "")] if with_namespace else []
        rows.append([*before, *cells, *([labels or "<none>"] if with_labels else [])])
    names = [*(["NAMESPACE"] if with_namespace else []), *header, *(["LABELS"] if with_labels else [])]
    return format_table(names, rows)

"""Descriptions of definitions and their fields, for ``kubectl explain``: built into the package, not committed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from definitions import DOCUMENTS_ONLY, ROOTS, SCALARS, Definition, load_definitions, reachable


def build_descriptions(definitions: dict[str, Definition]) -> dict[str, dict[str, str]]:
    """By definition: texts of its fields, and under the empty name its own."""
    texts = {}
    for name in sorted({*reachable(definitions, (*ROOTS, *DOCUMENTS_ONLY)), *SCALARS}):
        definition = definitions[name]
        found = {"": definition.get("description", "")}
        for field, schema in definition.get("properties", {}).items():
            found[field] = schema.get("description", "")
        texts[name] = {field: text for field, text in found.items() if text}
    return texts


def write_descriptions(path: Path) -> None:
    text = json.dumps(build_descriptions(load_definitions()), separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))

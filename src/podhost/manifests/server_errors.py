"""What an API server says about an object, at its place in the text.  Works with any cluster's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from podhost.manifests import structure
from podhost.manifests.content import quoted_value, suggest
from podhost.manifests.faults import Fault
from podhost.manifests.places import find_by_names, find_spot
from podhost.manifests.spelling import nearest_name
from podhost.manifests.yaml_nodes import Node

_STRICT = re.compile(r'(unknown|duplicate) field "([^"]+)"')
_GO_FIELD = re.compile(
    r"cannot unmarshal (?P<found>\w+)(?: [^ ]+)? into Go struct field"
    r" \w+\.(?P<names>[\w.]+) of type (?P<wanted>[\w.\[\]*]+)"
)
_GO_TYPES = {"string": "text", "bool": "`true` or `false`", "float64": "a number"}


def locate_status(root: Node, status: Mapping[str, Any], fields_at: Any = None) -> list[Fault]:
    """Faults of a ``metav1.Status``; empty when it names no field that can be found.

    ``fields_at(path)``: names that are valid at a path, for suggestions.
    """
    message = str(status.get("message") or "")
    causes = (status.get("details") or {}).get("causes") or []
    faults = [fault for cause in causes if cause.get("field") for fault in [_of_cause(root, cause)]]
    faults = faults or [*_of_strict(root, message, fields_at), *_of_go(root, message)]
    unique = {(fault.line, fault.column, fault.message): fault for fault in faults}
    return sorted(unique.values(), key=lambda fault: (fault.line, fault.column))


def _of_cause(root: Node, cause: Mapping[str, Any]) -> Fault:
    path, body = str(cause["field"]), str(cause.get("message") or cause.get("reason") or "")
    path = "" if path == "<nil>" else path
    spot = find_spot(root, path)
    meant = suggest(root, path, body, quoted_value(body))
    return structure.make_fault(spot, "server", f"{path}: {body}" if path else body, meant, path=path)


def _of_strict(root: Node, message: str, fields_at: Any) -> Iterator[Fault]:
    for what, path in dict.fromkeys(_STRICT.findall(message)):
        spot = find_spot(root, path, at_key=True)
        name = path.rpartition(".")[2]
        nearest = nearest_name(name, fields_at(path.rpartition(".")[0])) if fields_at and what == "unknown" else ""
        meant = f"`{name}`: did you mean `{nearest}`?" if nearest else ""
        code = "unknown-field" if what == "unknown" else "duplicate-key"
        yield structure.make_fault(spot, code, f"{what} field `{path}`", meant, path=path)


def _of_go(root: Node, message: str) -> Iterator[Fault]:
    for match in _GO_FIELD.finditer(message):
        wanted = _GO_TYPES.get(match["wanted"], f"of the type {match['wanted']}")
        if match["wanted"].startswith("int"):
            wanted = "a whole number"
        elif match["wanted"].startswith("[]"):
            wanted = "a list"
        elif match["wanted"].startswith("map["):
            wanted = "a mapping"
        for key, node, path in find_by_names(root, tuple(match["names"].split("."))):
            if _go_kind(node) == match["found"]:
                spot = find_spot(root, path)
                text = f"`{key.name}` must be {wanted}, and this is a JSON {match['found']}"
                yield structure.make_fault(spot, "type", text, path=path)


def _go_kind(node: Node) -> str:
    if node.kind != "scalar":
        return "object" if node.kind == "map" else "array"
    if isinstance(node.scalar, bool):
        return "bool"
    return "number" if isinstance(node.scalar, int | float) else "string"

"""What is wrong with the content of a document that can be read: fields, types, values."""

from __future__ import annotations

import json
import re
from typing import Any

from podhost.api.field_errors import ErrorType, FieldError
from podhost.api.kind import Kind, validate
from podhost.api.kinds import KINDS, kind_by_gvk
from podhost.api.schema import Type
from podhost.api.structure import check_structure
from podhost.manifests import structure
from podhost.manifests.faults import Fault
from podhost.manifests.places import Spot, find_spot, is_below, spot_of
from podhost.manifests.spelling import meant_name, nearest_name
from podhost.manifests.yaml_nodes import Node

_OTHER_CORE_KINDS = frozenset(
    {"ReplicationController", "LimitRange", "ResourceQuota", "Binding", "ComponentStatus", "List"}
)
"""Kinds of the core group that podhost lacks: no misspellings of those it has."""
WORKLOAD_KINDS = {
    "Deployment": "apps",
    "StatefulSet": "apps",
    "DaemonSet": "apps",
    "ReplicaSet": "apps",
    "Job": "batch",
    "CronJob": "batch",
    "ReplicationController": "",
}
"""Kinds that make pods, with their groups: clusters have them, podhost does not."""
NO_WORKLOADS_HINT = (
    "write its pod as a manifest of kind Pod; on a cluster this file works as it is: podhost --context NAME up FILE"
)
_REVIEW_GROUPS = ("authentication.k8s.io", "authorization.k8s.io")
_SUPPORTED = re.compile(r'supported values: (("[^"]*"(, )?)+)')


def schema_type(api_version: str, kind: str) -> tuple[Type | None, str]:
    """Type of an object's root and its name for sentences; ``None`` for a kind that nobody here knows."""
    group, _, version = api_version.rpartition("/")
    known = kind_by_gvk(group, version, kind) or next((k for k in KINDS if k.kind.lower() == kind.lower()), None)
    article = "an" if kind[:1] in "AEIOU" else "a"
    return (Type("ref", ref=known.schema) if known else None), f"{article} {kind or 'object'}"


def check_object(
    node: Node, *, namespace: str = "", with_warnings: bool = True, is_whole: bool = True, on_podhost: bool = False
) -> list[Fault]:
    """Faults of one object, in the order of the text.

    ``on_podhost``: it is for podhost itself, where a kind that its API lacks is a fault.
    ``is_whole``: nothing had to be left out to read it; else what is missing is no fault.
    """
    if node.kind != "map":
        message = "a manifest is a mapping with `apiVersion` and `kind`"
        return [structure.make_fault(spot_of(node), "syntax", message)]
    faults = [*structure.duplicate_faults(node), *structure.ambiguous_key_faults(node)]
    kind, trouble = _find_kind(node, on_podhost=on_podhost)
    if trouble is not None:
        faults.append(trouble)
    if kind is not None:
        faults += _check_known(node, kind, namespace, with_warnings, is_whole)
    return sorted(faults, key=lambda fault: (fault.line, fault.column))


def _find_kind(node: Node, *, on_podhost: bool) -> tuple[Kind | None, Fault | None]:
    services = node.get("services")
    if node.get("apiVersion") is None and node.get("kind") is None and services is not None and services.kind == "map":
        message = "this is a file for docker compose, and no manifest of Kubernetes"
        meant = "write a Pod with a container for each service"
        return None, structure.make_fault(find_spot(node, "services", at_key=True), "invalid", message, meant)
    for name in ("apiVersion", "kind"):
        value = node.get(name)
        if value is None or not isinstance(value.scalar, str) or not value.scalar:
            spot = find_spot(node, name)
            nearest = nearest_name(name, [key.name for key, _ in node.entries])
            meant = f"`{nearest}`: did you mean `{name}`?" if value is None and nearest else f"add `{name}:`"
            if value is None and nearest:
                spot = find_spot(node, nearest, at_key=True)
            return None, structure.make_fault(spot, "invalid", f"`{name}` is not set", meant, path=name)
    api_version, word = (str(part.scalar) for part in (node.get("apiVersion"), node.get("kind")) if part is not None)
    group, _, version = api_version.rpartition("/")
    kind = kind_by_gvk(group, version, word)
    if kind is not None:
        return kind, None
    return _guess_kind(node, word, api_version, on_podhost=on_podhost)


def _guess_kind(node: Node, name: str, api_version: str, *, on_podhost: bool) -> tuple[Kind | None, Fault]:
    """Not one of the kinds of podhost's API: misspelt, or of a server that has more."""
    group, _, version = api_version.rpartition("/")
    at_kind, at_version = find_spot(node, "kind"), find_spot(node, "apiVersion")
    message = f"there is no kind `{name}` in `{api_version}`"
    for kind in KINDS:
        if kind.kind == name and (group in ("", kind.group) or "." not in group):
            meant = f"`apiVersion: {kind.group_version}`"
            return kind, structure.make_fault(at_version, "invalid", message, f"did you mean {meant}?")
        if kind.kind.lower() == name.lower() and group in WORKLOAD_KINDS.values() and kind.group == "" != group:
            meant = f"did you mean `kind: {kind.kind}` of `apiVersion: {kind.group_version}`?"
            return kind, structure.make_fault(at_kind, "invalid", message, meant, path="kind")
    siblings = {kind.kind: kind for kind in KINDS if (kind.group, kind.version) == (group, version)}
    nearest = nearest_name(name, siblings) if name not in _OTHER_CORE_KINDS else ""
    if nearest:
        meant = f"`{name}`: did you mean `{nearest}`?"
        return siblings[nearest], structure.make_fault(at_kind, "invalid", message, meant, path="kind")
    if on_podhost and group not in _REVIEW_GROUPS:
        return None, _missing_kind(at_kind, name, group, message)
    message = f"the fields of {name} ({api_version}) are not checked: podhost does not know this kind"
    return None, structure.make_fault(at_kind, "unchecked", message, severity="note")


def _missing_kind(at_kind: Spot, name: str, group: str, message: str) -> Fault:
    if WORKLOAD_KINDS.get(name) != group:
        meant = "podhost does not know this kind; a cluster that has it takes it: podhost --context NAME up FILE"
        return structure.make_fault(at_kind, "no-kind", message, meant, path="kind")
    message = f"podhost has no {name}: it runs pods straight, and has no workload kinds ({', '.join(WORKLOAD_KINDS)})"
    return structure.make_fault(at_kind, "no-kind", message, NO_WORKLOADS_HINT, path="kind")


def _check_known(node: Node, kind: Kind, namespace: str, with_warnings: bool, is_whole: bool) -> list[Fault]:
    fields = structure.check_fields(node, kind.schema)
    faults = list(fields.faults)
    decoded = check_structure(fields.document, kind.schema)
    if decoded.type_errors:
        return faults + [structure.make_fault(find_spot(node, "kind"), "type", text) for text in decoded.type_errors]
    obj = decoded.document
    obj["apiVersion"], obj["kind"] = kind.group_version, kind.kind
    meta = obj.setdefault("metadata", {})
    if kind.namespaced:
        meta.setdefault("namespace", namespace or "default")
    warnings = kind.warnings_as_written(obj)
    kind.prepare_create(obj)
    kind.default(obj)
    errors = validate(kind, obj)
    missing = {error.field for error in errors if error.type is ErrorType.REQUIRED}
    told: set[tuple[str, str]] = set()
    for error in errors:
        if error.type is not ErrorType.REQUIRED and error.field in missing and not error.value:
            continue
        if _RESOURCE_NAME in error.body and isinstance(error.value, str):
            # Two rules for one name; and limits are the requests' defaults.
            name = (error.field.rpartition(".")[0], error.value)
            if name in told:
                continue
            told.add(name)
        if _is_consequence(error, fields) or (not is_whole and error.type in _ABSENCES):
            continue
        faults.append(fault_of_error(node, error))
    if with_warnings:
        touched = [*fields.bad_paths, *fields.suggested]
        for text in [*warnings, *kind.warnings(obj)]:
            path = text.partition(": ")[0]
            if not any(is_below(other, path) for other in touched):
                faults.append(_fault_of_warning(node, text))
    return faults


_RESOURCE_NAME = "must be a standard resource"
_NODE_PORT_RANGE = "provided port is not in the valid range"
_ABSENCES = (ErrorType.REQUIRED, ErrorType.NOT_FOUND)


def _is_consequence(error: FieldError, fields: structure.Structure) -> bool:
    """Would this error not be there if what is misspelt or of a wrong type were right?"""
    if any(is_below(error.field, path) for path in fields.bad_paths):
        return True
    if error.type in _ABSENCES and any(is_below(path, error.field) for path in fields.bad_paths):
        return True
    if any(is_below(error.field, path) for path in fields.suggested):
        return True
    if error.type in _ABSENCES and (fields.bad_paths or fields.suggested):
        touched = [*fields.bad_paths, *fields.suggested]
        if error.type is ErrorType.NOT_FOUND:
            return any(is_below(path, "spec.volumes") for path in touched)
        above = error.field.rpartition(".")[0]
        return any(path.rpartition(".")[0] == above for path in touched)
    return False


def fault_of_error(node: Node, error: FieldError) -> Fault:
    """An error of validation at its place."""
    if error.type is ErrorType.REQUIRED:
        return _missing(node, error.field, error.body)
    spot = find_spot(node, error.field)
    spot = _narrow(spot, error.value)
    meant = suggest(node, error.field, error.body, error.value)
    message = error.message if error.field else error.body
    return structure.make_fault(spot, "invalid", message, meant, path=error.field)


def _missing(node: Node, path: str, body: str) -> Fault:
    spot = find_spot(node, path, at_key=True)
    above, _, name = path.rpartition(".")
    meant = ""
    if not spot.is_exact and name:
        owner = find_spot(node, above).node if above else node
        title = owner.get("name") if owner is not None and owner.kind == "map" else None
        who = f" (`{title.text}`)" if title is not None and title.kind == "scalar" and title.text else ""
        meant = f"add `{name}:` to `{above}`{who}" if above else f"add `{name}:`"
    return structure.make_fault(spot, "invalid", f"{path}: {body}", meant, path=path)


def _narrow(spot: Spot, value: Any) -> Spot:
    """Errors of a whole mapping carry the key or the value that is wrong."""
    if spot.node is None or spot.node.kind == "scalar" or not isinstance(value, str):
        return spot
    for key, child in spot.node.entries:
        if key.name == value:
            return structure.key_spot(key)
        if child.kind == "scalar" and child.scalar == value:
            return spot_of(child)
    return spot


def suggest(node: Node, path: str, body: str, value: Any) -> str:
    """What was probably meant by a value, by the values that are possible."""
    word = value if isinstance(value, str) else ""
    match = _SUPPORTED.search(body)
    if match and word:
        choices = re.findall(r'"([^"]*)"', match[1])
        nearest = nearest_name(word, choices)
        return f"did you mean `{nearest}`?" if nearest else ""
    if _RESOURCE_NAME in body and word:
        nearest = meant_name(word, ("cpu", "memory", "ephemeral-storage"))
        return f"did you mean `{nearest}`?" if nearest else ""
    if _NODE_PORT_RANGE in body:
        return "leave it out, or take one of these; podhost's own range: the flag `--node-ports` of `podhost serve`"
    if body.startswith("Invalid value") and word and (mended := _valid_word(word, body)):
        return f"for example `{mended}`"
    if body.startswith("Not found") and word and re.search(r"volume(Mounts|Devices)\[\d+\]\.name$", path):
        volumes = find_spot(node, "spec.volumes").node
        names = [item.get("name") for item in volumes.items] if volumes is not None else []
        known = [name.text for name in names if name is not None and name.text]
        nearest = nearest_name(word, known)
        if nearest:
            return f"did you mean the volume `{nearest}`?"
        return f"the pod's volumes are: {', '.join(f'`{n}`' for n in known)}" if known else "the pod has no volumes"
    return ""


def _valid_word(word: str, body: str) -> str:
    """A name or label value near to one that the rules do not allow; empty when it would be the same."""
    if "lowercase RFC 1123 label" in body:
        mended = re.sub(r"[^a-z0-9-]+", "-", word.lower())[:63].strip("-")
    elif "lowercase RFC 1123 subdomain" in body:
        mended = re.sub(r"[^a-z0-9.-]+", "-", word.lower())[:253].strip("-.")
    elif "a valid label must be" in body:
        mended = re.sub(r"[^A-Za-z0-9_.-]+", "-", word)[:63].strip("-_.")
    else:
        return ""
    return mended if mended != word else ""


def _fault_of_warning(node: Node, text: str) -> Fault:
    path, _, _ = text.partition(": ")
    spot = find_spot(node, path, at_key=True)
    return structure.make_fault(spot, "warning", text, path=path, severity="warning")


def quoted_value(body: str) -> Any:
    """The value that a message of the API shows: ``Invalid value: "x": …``."""
    match = re.match(r'[A-Z][a-z]+(?: [a-z]+)*: ("(?:[^"\\]|\\.)*"|-?\d+|true|false)', body)
    try:
        return json.loads(match[1]) if match else None
    except ValueError:
        return None

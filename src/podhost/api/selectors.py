"""Label and field selectors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from podhost.api import names
from podhost.api.field_errors import aggregate, go_quote
from podhost.errors import InvalidError

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        if value is None or not re.fullmatch(r"[+-]?\d+", value, re.ASCII):
            return False
        limit = int(self.values[0])
        return int(value) > limit if self.operator == "Gt" else int(value) < limit


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements hold.  Without any, everything matches, unless it is ``NOTHING``."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        found = labels or {}
        return not self.nothing and all(requirement.matches(found) for requirement in self.requirements)

    @property
    def empty(self) -> bool:
        return not self.requirements and not self.nothing


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)

_TOKEN = re.compile(r"\s*(?:(==|!=|[=!,()<>])|([^\s=!,()<>]+))", re.ASCII)


class _Parser:
    """The grammar of label selectors: ``a=b, c in (d, e), !f, g > 1``."""

    def __init__(self, text: str) -> None:
        self.tokens = [match[1] or match[2] for match in _TOKEN.finditer(text)]
        self.position = 0

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.position += 1
        return token

    def parse(self) -> tuple[Requirement, ...]:
        requirements: list[Requirement] = []
        while self.peek():
            requirements.append(self.requirement())
            token = self.take()
            if token not in (",", ""):
                raise InvalidError(f"found '{token}', expected: ',' or 'end of string'")
            if token == "," and not self.peek():
                raise InvalidError("found '', expected: identifier after ','")
        return tuple(requirements)

    def requirement(self) -> Requirement:
        absent = self.peek() == "!"
        if absent:
            self.take()
        key = self.take()
        if not key or key in ",()<>=!" or key in ("==", "!="):
            raise InvalidError(f"found '{key}', expected: !, identifier, or 'end of string'")
        if absent:
            return _checked(key, "DoesNotExist", ())
        return self.operation(key)

    def operation(self, key: str) -> Requirement:
        operator = self.peek()
        if operator in ("", ","):
            return _checked(key, "Exists", ())
        self.take()
        if operator in ("=", "=="):
            return _checked(key, "In", (self.value(),))
        if operator == "!=":
            return _checked(key, "NotIn", (self.value(),))
        if operator in ("<", ">"):
            return _checked(key, "Gt" if operator == ">" else "Lt", (self.value(),))
        if operator in ("in", "notin"):
            return _checked(key, "In" if operator == "in" else "NotIn", self.values())
        raise InvalidError(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def value(self) -> str:
        return "" if self.peek() in ("", ",") else self.take()

    def values(self) -> tuple[str, ...]:
        if (token := self.take()) != "(":
            raise InvalidError(f"found '{token}', expected: '('")
        found: set[str] = set()
        while True:
            token = self.take()
            if token == ")":
                # ``in ()`` and ``in (a,)`` mean the empty value.
                return tuple(sorted(found or {""}))
            if token == ",":
                if self.peek() in (",", ")"):
                    found.add("")
            elif token in ("", "("):
                raise InvalidError(f"found '{token}', expected: ',', or identifier")
            else:
                found.add(token)


def _checked(key: str, operator: Operator, values: tuple[str, ...]) -> Requirement:
    """A requirement with Kubernetes' complaints about its key and values."""
    problems = [f"key: Invalid value: {go_quote(key)}: {message}" for message in names.check_qualified_name(key)]
    if operator in ("Gt", "Lt"):
        if not re.fullmatch(r"[+-]?\d+", values[0], re.ASCII):
            detail = "for 'Gt', 'Lt' operators, the value must be an integer"
            problems.append(f"values[0]: Invalid value: {go_quote(values[0])}: {detail}")
    else:
        problems += [
            f"values[{index}][{key}]: Invalid value: {go_quote(value)}: {message}"
            for index, value in enumerate(values)
            for message in names.check_label_value(value)
        ]
    if problems:
        raise InvalidError(aggregate(problems))
    return Requirement(key, operator, values)


def parse_label_selector(text: str) -> Selector:
    """Parse ``labelSelector`` of a request.

    Raises:
        InvalidError: ``unable to parse requirement: …``, to be answered with 400.
    """
    try:
        return Selector(_Parser(text).parse())
    except InvalidError as error:
        raise InvalidError(f"unable to parse requirement: {error}") from error


def from_label_selector(selector: Mapping[str, Any] | None) -> Selector:
    """A ``metav1.LabelSelector``: absent matches nothing, empty matches everything."""
    if selector is None:
        return NOTHING
    requirements = [Requirement(key, "In", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or ():
        operator = rule.get("operator")
        if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            raise InvalidError(f"{go_quote(str(operator))} is not a valid label selector operator")
        requirements.append(Requirement(rule.get("key") or "", operator, tuple(rule.get("values") or ())))
    return Selector(tuple(requirements))


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """``metadata.name=x,status.phase!=Running``: (field, value, wanted equal)."""

    terms: tuple[tuple[str, str, bool], ...] = ()

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all((fields.get(field, "") == value) == equal for field, value, equal in self.terms)

    def exact(self, field: str) -> str | None:
        """The value that a field must have, when the selector says so."""
        return next((value for name, value, equal in self.terms if name == field and equal), None)


_FIELD_TERM = re.compile(r"((?:[^=!\\,]|\\.)*)(!=|==|=)((?:[^=!\\,]|\\.)*)", re.DOTALL)


def parse_field_selector(text: str, supported: Sequence[str]) -> FieldSelector:
    """Parse ``fieldSelector`` of a request; ``supported`` are the kind's selectable fields.

    Raises:
        InvalidError: Kubernetes' text, to be answered with 400.
    """
    terms = []
    for part in re.split(r"(?<!\\),", text) if text else ():
        if not part:
            continue
        match = _FIELD_TERM.fullmatch(part)
        if match is None:
            raise InvalidError(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = match[1], match[2], re.sub(r"\\(.)", r"\1", match[3])
        if field not in supported:
            raise InvalidError(_unknown_field(field, supported))
        terms.append((field, value, operator != "!="))
    return FieldSelector(tuple(terms))


def _unknown_field(field: str, supported: Sequence[str]) -> str:
    """Kinds that can be selected by their metadata only have a text of their own."""
    if set(supported) <= {"metadata.name", "metadata.namespace"}:
        return f'{go_quote(field)} is not a known field selector: only "metadata.name", "metadata.namespace"'
    return f"field label not supported: {field}"


def metadata_fields(obj: Mapping[str, Any]) -> dict[str, str]:
    """What every kind can be selected by."""
    meta = obj.get("metadata") or {}
    return {"metadata.name": meta.get("name") or "", "metadata.namespace": meta.get("namespace") or ""}


def pod_fields(pod: Mapping[str, Any]) -> dict[str, str]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    addresses = status.get("podIPs") or ()
    return metadata_fields(pod) | {
        "spec.nodeName": spec.get("nodeName") or "",
        "spec.restartPolicy": spec.get("restartPolicy") or "",
        "spec.schedulerName": spec.get("schedulerName") or "",
        "spec.serviceAccountName": spec.get("serviceAccountName") or "",
        "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
        "status.phase": status.get("phase") or "",
        "status.podIP": (addresses[0].get("ip") or "") if addresses else (status.get("podIP") or ""),
        "status.nominatedNodeName": status.get("nominatedNodeName") or "",
    }


def service_fields(service: Mapping[str, Any]) -> dict[str, str]:
    spec = service.get("spec") or {}
    return metadata_fields(service) | {
        "spec.clusterIP": spec.get("clusterIP") or "",
        "spec.type": spec.get("type") or "",
    }


def secret_fields(secret: Mapping[str, Any]) -> dict[str, str]:
    return metadata_fields(secret) | {"type": secret.get("type") or ""}


def namespace_fields(namespace: Mapping[str, Any]) -> dict[str, str]:
    phase = (namespace.get("status") or {}).get("phase") or ""
    return metadata_fields(namespace) | {"status.phase": phase, "name": metadata_fields(namespace)["metadata.name"]}


def node_fields(node: Mapping[str, Any]) -> dict[str, str]:
    unschedulable = bool((node.get("spec") or {}).get("unschedulable"))
    return metadata_fields(node) | {"spec.unschedulable": "true" if unschedulable else "false"}


def event_fields(event: Mapping[str, Any]) -> dict[str, str]:
    involved, source = event.get("involvedObject") or {}, event.get("source") or {}
    fields = metadata_fields(event)
    for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"):
        fields[f"involvedObject.{name}"] = involved.get(name) or ""
    component = source.get("component") or event.get("reportingComponent") or ""
    return fields | {
        "reason": event.get("reason") or "",
        "reportingComponent": event.get("reportingComponent") or "",
        "source": component,
        "type": event.get("type") or "",
    }

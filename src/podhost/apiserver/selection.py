"""Label and field selectors of a request, as one predicate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from podhost.api.kind import Kind
from podhost.api.selectors import FieldSelector, Selector, parse_field_selector, parse_label_selector
from podhost.apiserver.call import Call

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects a request is about."""

    kind: Kind
    labels: Selector | None = None
    fields: FieldSelector | None = None

    @property
    def everything(self) -> bool:
        return self.labels is None and self.fields is None

    def matches(self, obj: Obj) -> bool:
        if self.labels is not None and not self.labels.matches(obj["metadata"].get("labels") or {}):
            return False
        return self.fields is None or self.fields.matches(self.kind.selectable_fields(obj))


def read_selection(call: Call) -> Selection:
    """From ``labelSelector`` and ``fieldSelector``.  Raises InvalidError."""
    labels, fields = call.text("labelSelector"), call.text("fieldSelector")
    return Selection(
        call.kind,
        parse_label_selector(labels) if labels else None,
        parse_field_selector(fields, tuple(call.kind.selectable_fields({}))) if fields else None,
    )

"""Event in its two versions: ``v1`` is what is stored, ``events.k8s.io/v1`` a view of the same objects.

Objects of the view are converted on their way in and out of the store (``store/views.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from podhost.api import columns as tables
from podhost.api.columns import event_row
from podhost.api.event_forms import default_event, default_event_v1, from_events_v1, to_events_v1
from podhost.api.kind import Kind, StoredForm
from podhost.api.selectors import event_fields, metadata_fields
from podhost.api.validation import events

Result = TypeVar("Result")

_REFERENCE_FIELDS = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def event_v1_fields(event: Mapping[str, Any]) -> dict[str, str]:
    """Field selectors of the view have the view's names."""
    stored = event_fields(from_events_v1(dict(event)))
    return metadata_fields(event) | {
        **{f"regarding.{name}": stored[f"involvedObject.{name}"] for name in _REFERENCE_FIELDS},
        "reason": stored["reason"],
        "reportingController": stored["reportingComponent"],
        "source": stored["source"],
        "type": stored["type"],
    }


def _of_stored(compute: Callable[..., Result]) -> Callable[..., Result]:
    """A function of the stored form as one of the view."""
    return lambda event, *rest: compute(from_events_v1(event), *rest)


_SHORT_NAMES = ("ev",)
EVENT = Kind(
    kind="Event",
    version="v1",
    plural="events",
    singular="event",
    schema="io.k8s.api.core.v1.Event",
    short_names=_SHORT_NAMES,
    default=default_event,
    validate_create=events.validate_event,
    validate_update=events.validate_event_update,
    columns=tables.EVENT_COLUMNS,
    row=event_row,
    selectable_fields=event_fields,
    create_on_update=True,
)
EVENT_V1 = Kind(
    kind="Event",
    group="events.k8s.io",
    version="v1",
    plural="events",
    singular="event",
    schema="io.k8s.api.events.v1.Event",
    short_names=_SHORT_NAMES,
    stored_form=StoredForm(EVENT.resource, to_events_v1, from_events_v1),
    default=default_event_v1,
    validate_create=events.validate_event_v1,
    validate_update=events.validate_event_v1_update,
    columns=tables.EVENT_COLUMNS,
    row=_of_stored(event_row),
    selectable_fields=event_v1_fields,
    create_on_update=True,
)

"""Events of a watch as lines of JSON.  Pure but for the clock, which ages in tables need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from podhost.aiokit.clock import Clock
from podhost.api.kind import Kind
from podhost.apiserver import negotiation
from podhost.apiserver.negotiation import Representation, View
from podhost.apiserver.selection import Selection
from podhost.apiserver.watch_filter import filter_event
from podhost.store import WatchEvent

Obj = dict[str, Any]

FRAME_BYTES = 64 << 10
"""Of what is written at once, unless a single event is larger."""


class Form(NamedTuple):
    """How one watcher wants what all watchers of a feed get."""

    bookmarks: bool = False
    columns: bool = False
    """The columns of its table are still to be told."""
    chunked: bool = True
    """Chunks of HTTP/1.1; older clients read to the end of the connection."""


class Frame(NamedTuple):
    """Bytes for the connection, after which a watcher has everything up to version ``rv``."""

    rv: int
    data: bytes


class EventEncoder:
    """Lines of JSON, in the view that the client wants.

    ``columns``: this is the watch's first line, which for a table tells the columns.
    """

    def __init__(self, kind: Kind, representation: Representation, clock: Clock) -> None:
        self._kind = kind
        self._representation = representation
        self._clock = clock

    def encode(self, event_type: str, obj: Obj, *, columns: bool) -> bytes:
        """A change."""
        return encode_line(event_type, self._shape(obj, columns=columns))

    def encode_shared(self, event_type: str, obj: Obj, renderings: dict[Any, bytes], *, columns: bool) -> bytes:
        """A change that others may have encoded already, in the same form."""
        columns = columns and self._representation.view is View.TABLE
        form = (event_type, self._kind.group_version, self._representation, columns)
        line = renderings.get(form)
        if line is None:
            line = renderings[form] = self.encode(event_type, obj, columns=columns)
        return line

    def encode_bookmark(self, rv: int, annotations: Obj | None = None, *, columns: bool) -> bytes:
        """Progress: everything up to ``rv`` has been sent."""
        metadata: Obj = {"resourceVersion": str(rv), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        bookmark = {"kind": self._kind.kind, "apiVersion": self._kind.group_version, "metadata": metadata}
        if self._representation.view is View.TABLE:
            bookmark = negotiation.build_table_bookmark(self._kind, bookmark, with_columns=columns)
        elif self._representation.view is View.METADATA:
            bookmark = negotiation.build_metadata_only(bookmark)
        return encode_line("BOOKMARK", bookmark)

    def _shape(self, obj: Obj, *, columns: bool) -> Obj:
        match self._representation.view:
            case View.OBJECT:
                return obj
            case View.METADATA:
                return negotiation.build_metadata_only(obj)
            case View.TABLE:
                return negotiation.build_table(
                    self._kind,
                    [obj],
                    {"resourceVersion": obj["metadata"]["resourceVersion"]},
                    self._clock.now(),
                    include_object=self._representation.include_object,
                    with_columns=columns,
                )


class FrameEncoder:
    """What the watchers of one selection in one representation are sent."""

    def __init__(self, selection: Selection, encoder: EventEncoder) -> None:
        self._selection = selection
        self._encoder = encoder

    def encode_events(self, events: Iterable[WatchEvent], form: Form) -> list[Frame]:
        """Frames of those events that the selection sees."""
        lines: list[tuple[int, bytes]] = []
        for event in events:
            line = self._encode(event, form, columns=form.columns and not lines)
            if line:
                lines.append((event.rv, line))
        return build_frames(lines, chunked=form.chunked)

    def encode_objects(
        self, objects: Iterable[Obj], rv: int, form: Form, end_annotations: Obj | None
    ) -> Iterable[Frame]:
        """Frames of what is there already, at version ``rv``, made one after the other."""
        lines: list[tuple[int, bytes]] = []
        size, columns = 0, form.columns
        for obj in objects:
            line = self._encoder.encode("ADDED", obj, columns=columns)
            columns, size = False, size + len(line)
            lines.append((rv, line))
            if size > FRAME_BYTES:
                yield from build_frames(lines, chunked=form.chunked)
                lines, size = [], 0
        if end_annotations is not None:
            lines.append((rv, self._encoder.encode_bookmark(rv, end_annotations, columns=columns)))
        yield from build_frames(lines, chunked=form.chunked)

    def encode_bookmark(self, rv: int, form: Form) -> Frame:
        line = self._encoder.encode_bookmark(rv, columns=form.columns)
        return Frame(rv, frame_lines([line], chunked=form.chunked))

    def _encode(self, event: WatchEvent, form: Form, *, columns: bool) -> bytes:
        """Nothing for an event that the watcher does not see."""
        if event.type == "BOOKMARK":
            return self._encoder.encode_bookmark(event.rv, columns=columns) if form.bookmarks else b""
        if self._selection.everything:
            return self._encoder.encode_shared(event.type, event.object, event.renderings, columns=columns)
        seen = filter_event(event, self._selection.matches)
        return b"" if seen is None else self._encoder.encode_shared(*seen, event.renderings, columns=columns)


def build_frames(lines: Iterable[tuple[int, bytes]], *, chunked: bool) -> list[Frame]:
    """Lines with the version of each, put together to frames of bounded size."""
    frames: list[Frame] = []
    batch: list[bytes] = []
    size, last_rv = 0, 0
    for rv, line in lines:
        if batch and size + len(line) > FRAME_BYTES:
            frames.append(Frame(last_rv, frame_lines(batch, chunked=chunked)))
            batch, size = [], 0
        batch.append(line)
        size, last_rv = size + len(line), rv
    if batch:
        frames.append(Frame(last_rv, frame_lines(batch, chunked=chunked)))
    return frames


def frame_lines(lines: Sequence[bytes], *, chunked: bool) -> bytes:
    """As they go over the connection."""
    if not chunked:
        return b"".join(lines)
    return b"".join((b"%x\r\n" % sum(map(len, lines)), *lines, b"\r\n"))


def encode_line(event_type: str, obj: Obj) -> bytes:
    return msgspec.json.encode({"type": event_type, "object": obj}) + b"\n"

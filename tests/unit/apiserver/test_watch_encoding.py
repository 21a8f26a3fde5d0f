"""What watchers are sent, put together to frames."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podhost.aiokit.clock import FakeClock
from podhost.api.kinds import CONFIG_MAP
from podhost.apiserver.negotiation import Representation, View
from podhost.apiserver.selection import Selection
from podhost.apiserver.watch_encoding import FRAME_BYTES, EventEncoder, Form, FrameEncoder, build_frames
from podhost.store import WatchEvent

HALF = b"x" * (FRAME_BYTES // 2) + b"\n"


@pytest.mark.parametrize(
    ("lines", "frames"),
    [
        ([], []),
        ([(1, b"a\n"), (2, b"b\n")], [(2, b"a\nb\n")]),
        ([(1, b"a\n"), (2, HALF), (3, HALF), (4, b"b\n")], [(2, b"a\n" + HALF), (4, HALF + b"b\n")]),
        ([(1, HALF * 5), (2, b"b\n")], [(1, HALF * 5), (2, b"b\n")]),
    ],
)
def test_frames_are_bounded_and_know_the_version_they_lead_to(
    lines: list[tuple[int, bytes]], frames: list[tuple[int, bytes]]
) -> None:
    assert build_frames(lines, chunked=False) == frames
    chunks = [(rv, b"%x\r\n%s\r\n" % (len(data), data)) for rv, data in frames]
    assert build_frames(lines, chunked=True) == chunks


def event(rv: int) -> WatchEvent:
    obj: dict[str, Any] = {"metadata": {"name": "a", "namespace": "default", "resourceVersion": str(rv)}}
    return WatchEvent("MODIFIED", obj, obj, rv)


def decode(frames: list[Any]) -> list[Any]:
    return [json.loads(line) for frame in frames for line in frame.data.splitlines()]


@pytest.mark.parametrize("view", list(View))
def test_a_table_tells_its_columns_first_and_a_bookmark_comes_to_those_who_asked(view: View) -> None:
    encoder = FrameEncoder(Selection(CONFIG_MAP), EventEncoder(CONFIG_MAP, Representation(view), FakeClock()))
    events = [event(5), WatchEvent("BOOKMARK", {}, None, 5), event(6)]
    for columns in (True, False):
        form = Form(columns=columns, chunked=False)
        plain = decode(encoder.encode_events(events, form))
        marked = decode(encoder.encode_events(events, form._replace(bookmarks=True)))
        assert [each["type"] for each in marked] == ["MODIFIED", "BOOKMARK", "MODIFIED"]
        assert plain == [marked[0], marked[2]]
        told = [bool(each["object"].get("columnDefinitions")) for each in marked]
        assert told == [columns and view is View.TABLE, False, False]

"""What the words of ``podhost cp`` mean."""

from __future__ import annotations

import pytest

from podhost.cli.cp import Place, Result, parse_place
from podhost.cli.failure import HintedError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("file", Place("file")),
        ("/etc/hosts", Place("/etc/hosts")),
        ("./odd:name", Place("./odd:name")),
        ("/odd:name", Place("/odd:name")),
        ("web:/etc", Place("/etc", "web")),
        ("pod/web:/etc", Place("/etc", "web")),
        ("shop/web:tmp/x:y", Place("tmp/x:y", "web", "shop")),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["web:", ":/etc", "shop/:/etc"])
def test_half_a_place_is_refused(text: str) -> None:
    with pytest.raises(HintedError, match="cannot understand"):
        parse_place(text)


def test_tar_may_repeat_itself() -> None:
    result = Result(2, bytearray(b"tar: x: Cannot mkdir\n" * 50 + b"tar: Exiting\n"))
    assert result.message == "tar: x: Cannot mkdir\ntar: Exiting"

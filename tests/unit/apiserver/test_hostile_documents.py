"""Documents and requests made to hurt: they are refused, and quickly."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from aiohttp import web

from podhost.api.deletion import DeleteOptions, MarkDeleted, compute_deletion
from podhost.api.errors import ApiError
from podhost.api.patches import PatchError, apply_json_patch
from podhost.apiserver.answers import add_warnings, to_api_error
from podhost.apiserver.bodies import JSON, YAML, parse_document
from podhost.apiserver.yaml_limits import MAX_DEPTH

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [" + ",".join([f"*{chr(97 + i)}"] * 9) + "]\n" for i in range(8)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 200_000, "exceeded max(imum nesting)? depth"),  # newer releases of libyaml count as well
        ("- " * 200_000 + "x", "exceeded max depth"),
        ("{a: " * 300 + "1" + "}" * 300, "exceeded max depth"),
        (BOMB, "document contains excessive aliasing"),
        ("a: &x {b: *x}", "anchor 'x' value contains itself"),
        ("!!python/object/apply:os.system [id]", "could not determine a constructor"),
    ],
)
async def test_yaml_that_would_hurt_is_refused(text: str, says: str) -> None:
    with pytest.raises(ApiError, match=says) as caught:
        await parse_document(text.encode(), YAML)
    assert caught.value.code == 400


async def test_yaml_with_some_depth_and_some_aliases_is_read() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert await parse_document(deep.encode(), YAML)
    assert await parse_document(b"a: &x {k: v}\nb: *x\nc: [*x, *x]", YAML) == {
        "a": {"k": "v"},
        "b": {"k": "v"},
        "c": [{"k": "v"}] * 2,
    }


async def test_json_that_is_not_utf_8_is_the_clients_fault() -> None:
    with pytest.raises(ApiError) as caught:
        await parse_document(b'{"a": "\xff\xfe"}', JSON)
    assert caught.value.code == 400


async def test_json_nested_too_deeply_is_the_clients_fault() -> None:
    with pytest.raises(RecursionError) as caught:
        await parse_document(b"[" * 100_000 + b"]" * 100_000, JSON)
    assert to_api_error(caught.value).code == 400


def test_copies_of_copies_in_a_json_patch_are_bounded() -> None:
    document = {"data": {"x": "y" * 100}}
    operations = [{"op": "copy", "from": "/data", "path": f"/data/z{i}"} for i in range(40)]
    with pytest.raises(PatchError, match="the accumulated size increase of copy is") as caught:
        apply_json_patch(document, operations)
    assert caught.value.unprocessable


def test_many_moves_of_a_large_value_copy_nothing() -> None:
    document = {"a": {str(i): "v" for i in range(20_000)}}
    moves = [{"op": "move", "from": "/ab"[:1] + "ab"[i % 2], "path": "/" + "ab"[1 - i % 2]} for i in range(10_000)]
    assert apply_json_patch(document, moves) == document


def test_thousands_of_warnings_are_cut_to_what_clients_take() -> None:
    response = web.Response()
    add_warnings(response, [f'unknown field "spec.{"x" * 300}{i}"' for i in range(3000)])
    values = response.headers.getall("Warning")
    assert 10 < len(values) <= 60
    assert sum(map(len, values)) < 6000


def test_a_grace_period_beyond_all_dates_still_marks_the_pod() -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}
    decision = compute_deletion("pods", pod, DeleteOptions(grace_period_s=2**63 - 1), datetime.now(UTC))
    assert isinstance(decision, MarkDeleted)
    assert msgspec.json.encode(decision.object)

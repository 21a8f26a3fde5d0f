"""Pages of lists."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.api.errors import ApiError
from podhost.apiserver.listing import ListRequest, decode_token, paginate, validate_watch


def items(*names: str) -> list[dict[str, Any]]:
    return [{"metadata": {"namespace": "ns", "name": name}} for name in names]


@given(st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=12), st.integers(1, 5))
def test_pages_together_are_the_list(names: list[str], limit: int) -> None:
    everything = items(*sorted(names))
    seen: list[dict[str, Any]] = []
    token = ""
    while True:
        after = decode_token(token)[1] if token else None
        page = paginate(everything, 7, ListRequest(limit, after=after), counted=True)
        seen += page.items
        assert len(page.items) <= limit
        assert (page.remaining or 0) == len(everything) - len(seen)
        token = page.continue_token
        if not token:
            break
    assert seen == everything


@pytest.mark.parametrize("token", ["x", "%%%", "W10", "bnVsbA", "eyJ2IjoieCIsInJ2IjoxLCJzdGFydCI6ImEvYiJ9"])
def test_foreign_token_is_refused(token: str) -> None:
    with pytest.raises(ApiError, match="continue key is not valid"):
        decode_token(token)


def test_an_expired_page_comes_with_a_token_that_leads_on() -> None:
    error = ListRequest(3, 5, ("ns", "b")).expired()
    assert (error.code, error.reason) == (410, "Expired")
    assert decode_token(error.status["metadata"]["continue"]) == (-1, ("ns", "b"))
    assert ListRequest(3, 5).expired().message == "The resourceVersion for the provided list is too old."


@pytest.mark.parametrize(
    ("match", "token", "initial_events", "messages"),
    [
        ("", "", None, []),
        ("NotOlderThan", "", True, []),
        ("", "", True, ["sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"]),
        (
            "NotOlderThan",
            "x",
            None,
            [
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                "resourceVersionMatch is forbidden when continue is provided",
            ],
        ),
        (
            "Exact",
            "",
            False,
            [
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                '"Exact": supported values: "NotOlderThan"',
            ],
        ),
    ],
)
def test_options_of_a_watch(match: str, token: str, initial_events: bool | None, messages: list[str]) -> None:
    problems = validate_watch(match, token, initial_events=initial_events)
    assert len(problems) == len(messages)
    assert all(text in problem.message for text, problem in zip(messages, problems, strict=True))

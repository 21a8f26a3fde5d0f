"""Pages of lists."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.api.errors import ApiError
from podhost.apiserver.listing import paginate


def items(*names: str) -> list[dict[str, Any]]:
    return [{"metadata": {"namespace": "ns", "name": name}} for name in names]


@given(st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=12), st.integers(1, 5))
def test_pages_together_are_the_list(names: list[str], limit: int) -> None:
    everything = items(*sorted(names))
    seen: list[dict[str, Any]] = []
    token = ""
    while True:
        page = paginate(everything, 7, limit=limit, token=token, counted=True)
        seen += page.items
        assert len(page.items) <= limit
        assert (page.remaining or 0) == len(everything) - len(seen)
        token = page.continue_token
        if not token:
            break
    assert seen == everything


def test_all_pages_carry_the_version_of_the_first() -> None:
    first = paginate(items("a", "b"), 7, limit=1, token="", counted=False)
    second = paginate(items("a", "aa", "b"), 9, limit=5, token=first.continue_token, counted=False)
    assert [item["metadata"]["name"] for item in second.items] == ["aa", "b"]
    assert (first.rv, second.rv) == (7, 7)
    assert "remainingItemCount" not in first.metadata


@pytest.mark.parametrize("token", ["x", "%%%", "W10", "bnVsbA"])
def test_foreign_token_is_refused(token: str) -> None:
    with pytest.raises(ApiError, match="continue key is not valid"):
        paginate(items("a"), 1, limit=1, token=token, counted=True)

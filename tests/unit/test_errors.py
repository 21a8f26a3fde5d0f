"""The words of a cause."""

from __future__ import annotations

import errno

import pytest

from podhost.errors import InvalidError, describe_cause


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/var/x"), "/var/x: no space left on device"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on device"),
        (OSError("odd"), "odd"),
        (InvalidError('cannot read "x"'), 'cannot read "x"'),
    ],
)
def test_causes_read_as_in_go(error: Exception, text: str) -> None:
    assert describe_cause(error) == text

"""Failures as Status, warnings as headers."""

from __future__ import annotations

import pytest

from podhost import errors as internal
from podhost.api import errors
from podhost.apiserver.answers import answer_error, format_warning, to_api_error
from podhost.cri.images import ImagePullError
from podhost.store import GoneError


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (internal.NotFoundError("cannot x"), 404, "NotFound"),
        (internal.ExistsError("cannot x"), 409, "AlreadyExists"),
        (internal.ConflictError("cannot x"), 409, "Conflict"),
        (internal.InvalidError("cannot x"), 400, "BadRequest"),
        (internal.ExhaustedError("cannot x"), 507, "InsufficientStorage"),
        (internal.UnavailableError("cannot x"), 503, "ServiceUnavailable"),
        (internal.DeniedError("cannot x"), 403, "Forbidden"),
        (GoneError("cannot x"), 410, "Expired"),
        (ImagePullError("cannot x"), 503, "ServiceUnavailable"),
        (errors.bad_request("cannot x"), 400, "BadRequest"),
    ],
)
def test_each_kind_of_failure_has_its_status(error: Exception, code: int, reason: str) -> None:
    status = to_api_error(error).status
    assert (status["code"], status["reason"], status["status"]) == (code, reason, "Failure")
    assert "cannot x" in status["message"]


def test_unexpected_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert to_api_error(KeyError("boom")).code == 500
    assert "boom" in caplog.text


def test_retry_after_is_a_header() -> None:
    assert answer_error(errors.too_many_requests("later", 3)).headers["Retry-After"] == "3"


def test_warning_is_quoted_and_has_no_line_breaks() -> None:
    assert format_warning('say "x"\r\nSet-Cookie: a\\b') == '299 - "say \\"x\\"  Set-Cookie: a\\\\b"'

"""Answers of a failed request."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.api import errors
from podhost.api.field_errors import Path


@pytest.mark.parametrize(
    ("error", "code", "reason", "message", "details"),
    [
        (errors.not_found("pods", "x"), 404, "NotFound", 'pods "x" not found', {"name": "x", "kind": "pods"}),
        (
            errors.already_exists("leases", "x", "coordination.k8s.io"),
            409,
            "AlreadyExists",
            'leases.coordination.k8s.io "x" already exists',
            {"name": "x", "group": "coordination.k8s.io", "kind": "leases"},
        ),
        (
            errors.conflict("pods", "x"),
            409,
            "Conflict",
            'Operation cannot be fulfilled on pods "x": the object has been modified; please apply your changes to '
            "the latest version and try again",
            {"name": "x", "kind": "pods"},
        ),
        (
            errors.forbidden("pods", "x", "no"),
            403,
            "Forbidden",
            'pods "x" is forbidden: no',
            {"name": "x", "kind": "pods"},
        ),
        (
            errors.cannot_be_handled("Pod", "v1", errors.strict_decoding_error(['unknown field "spec.x"'])),
            400,
            "BadRequest",
            'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.x"',
            None,
        ),
        (
            errors.internal_error("x"),
            500,
            "InternalError",
            "Internal error occurred: x",
            {"causes": [{"message": "x"}]},
        ),
    ],
)
def test_the_status_has_kubernetes_words(
    error: errors.ApiError, code: int, reason: str, message: str, details: dict[str, Any] | None
) -> None:
    status = error.status
    assert (status["code"], status["reason"], status["message"]) == (code, reason, message)
    assert status.get("details") == details
    assert status["kind"] == "Status"
    assert status["status"] == "Failure"


def test_invalid_lists_all_causes_and_says_each_once() -> None:
    path = Path("spec").child("containers").index(0)
    found = [path.child("name").required(), path.child("image").required(), path.child("name").required()]
    error = errors.invalid("Pod", "", "x", found)
    assert error.message == (
        'Pod "x" is invalid: [spec.containers[0].name: Required value, spec.containers[0].image: Required value]'
    )
    assert error.status["details"]["causes"][0] == {
        "reason": "FieldValueRequired",
        "message": "Required value",
        "field": "spec.containers[0].name",
    }
    assert errors.invalid("Pod", "", "x", found[:1]).message == (
        'Pod "x" is invalid: spec.containers[0].name: Required value'
    )


def test_values_are_shown_as_go_shows_them() -> None:
    path = Path("metadata").child("annotations").key("a/b")
    assert path.invalid(None, "x").message == "metadata.annotations[a/b]: Invalid value: null: x"
    assert path.invalid(True, "x").body == "Invalid value: true: x"
    assert path.invalid({"a": [1]}, "x").body == 'Invalid value: {"a":[1]}: x'
    assert path.not_supported("q", {"b", "a"}).body == 'Unsupported value: "q": supported values: "a", "b"'
    assert path.too_long(1).body == "Too long: may not be more than 1 bytes"
    assert path.too_many(3, 2).body == "Too many: 3: must have at most 2 items"

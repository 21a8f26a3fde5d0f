"""Credentials out of docker's and podman's files."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from podhost.cli.auth_files import find_credentials, split_registry


def entry(user: str, password: str = "pw") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("nginx", ("docker.io", "library/nginx")),
        ("nginx:alpine", ("docker.io", "library/nginx")),
        ("training/webapp", ("docker.io", "training/webapp")),
        ("docker.io/library/nginx:1", ("docker.io", "library/nginx")),
        ("localhost:5000/a/b:tag", ("localhost:5000", "a/b")),
        ("quay.io/org/app@sha256:00", ("quay.io", "org/app")),
    ],
)
def test_registry_of_a_name_follows_dockers_rule(ref: str, expected: tuple[str, str]) -> None:
    assert split_registry(ref) == expected


@pytest.mark.parametrize(
    ("ref", "auths", "user"),
    [
        ("nginx", {"https://index.docker.io/v1/": entry("hub")}, "hub"),
        ("nginx", {"docker.io": entry("hub")}, "hub"),
        ("quay.io/org/app", {"quay.io": entry("q")}, "q"),
        ("quay.io/org/app", {"https://quay.io": entry("q")}, "q"),
        ("quay.io/org/app", {"quay.io": entry("q"), "quay.io/org": entry("org")}, "org"),
        ("quay.io/org/app", {"other.io": entry("o")}, None),
        ("quay.io/org/app", {"quay.io": {"username": "plain", "password": "pw"}}, "plain"),
        ("quay.io/org/app", {"quay.io": {"auth": "%%%"}}, None),
        ("quay.io/org/app", {"quay.io": {}}, None),
    ],
)
def test_most_specific_entry_is_sent(ref: str, auths: dict[str, Any], user: str | None) -> None:
    found = find_credentials(ref, [{"auths": auths}])
    assert [item["username"] for item in found] == ([] if user is None else [user])


def test_password_may_hold_colons_and_the_registry_is_named() -> None:
    found = find_credentials("quay.io/a", [{"auths": {"quay.io": entry("u", "a:b")}}])
    assert found == [{"username": "u", "password": "a:b", "server_address": "quay.io"}]


def test_credential_helper_is_asked_when_the_file_holds_none() -> None:
    asked = []

    def helper(name: str, server: str) -> tuple[str, str]:
        asked.append((name, server))
        return "u", "p"

    found = find_credentials("nginx", [{"auths": {"docker.io": {}}, "credsStore": "pass"}], helper)
    assert (found[0]["username"], asked) == ("u", [("pass", "https://index.docker.io/v1/")])

"""Credentials out of docker's and podman's files."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from podhost.cli.auth_files import (
    choose_auth_file,
    find_credentials,
    normalize_registry,
    run_credential_helper,
    split_registry,
)
from podhost.cli.session import Caller


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


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ({**entry("u", ""), "identitytoken": "t"}, {"username": "u", "password": "", "identity_token": "t"}),
        ({"identitytoken": "t"}, {"identity_token": "t"}),
        ({"auth": base64.b64encode(b"no colon").decode(), "identitytoken": "t"}, {"identity_token": "t"}),
        (entry("u", "p\0\0"), {"username": "u", "password": "p"}),
    ],
)
def test_an_identity_token_is_sent_as_one(written: dict[str, str], sent: dict[str, str]) -> None:
    assert find_credentials("quay.io/a", [{"auths": {"quay.io": written}}]) == [{**sent, "server_address": "quay.io"}]


def test_what_a_helper_calls_a_token_is_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-kept"
    helper.write_text("""#!/bin/sh\necho '{"ServerURL": "x", "Username": "<token>", "Secret": "t"}'\n""")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    caller = Caller(uid=os.getuid(), gid=os.getgid(), home=tmp_path, runtime_dir=tmp_path)
    assert run_credential_helper("kept", "quay.io", caller) == {"identity_token": "t"}


@pytest.mark.parametrize("answer", ["[]", '"word"', "7", "{}", "not json", ""])
def test_helper_that_answers_garbage_has_no_credentials(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    helper = tmp_path / "docker-credential-odd"
    helper.write_text(f"#!/bin/sh\necho '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    caller = Caller(uid=os.getuid(), gid=os.getgid(), home=tmp_path, runtime_dir=tmp_path)
    assert run_credential_helper("odd", "quay.io", caller) is None
    assert "cannot ask docker-credential-odd for the credentials of quay.io" in capsys.readouterr().err


def test_credential_helper_is_asked_when_the_file_holds_none() -> None:
    asked = []

    def helper(name: str, server: str) -> dict[str, str]:
        asked.append((name, server))
        return {"username": "u", "password": "p"}

    found = find_credentials("nginx", [{"auths": {"docker.io": {}}, "credsStore": "pass"}], helper)
    assert (found[0]["username"], asked) == ("u", [("pass", "https://index.docker.io/v1/")])


@pytest.mark.parametrize(
    ("document", "helper", "user"),
    [
        ({"credHelpers": {"quay.io": "own"}, "auths": {"quay.io": entry("file")}}, "own", "helper"),
        ({"credHelpers": {"other.io": "own"}, "auths": {"quay.io": entry("file")}}, "", "file"),
        ({"credsStore": "all", "auths": {"quay.io": entry("file")}}, "", "file"),
        ({"credsStore": "all", "auths": {"quay.io": {}}}, "all", "helper"),
        ({"credsStore": "all", "credHelpers": {"quay.io": "own"}}, "own", "helper"),
    ],
)
def test_the_registrys_own_helper_goes_first_and_the_general_one_last(
    document: dict[str, Any], helper: str, user: str
) -> None:
    asked = []

    def ask(name: str, _server: str) -> dict[str, str]:
        asked.append(name)
        return {"username": "helper", "password": "pw"}

    assert [found["username"] for found in find_credentials("quay.io/a", [document], ask)] == [user]
    assert asked == ([helper] if helper else [])


def test_a_helper_without_credentials_leaves_what_is_written() -> None:
    document = {"credHelpers": {"quay.io": "own"}, "auths": {"quay.io": entry("file")}}
    assert find_credentials("quay.io/a", [document], lambda *_: None)[0]["username"] == "file"


@pytest.mark.parametrize(
    ("text", "registry"),
    [
        ("docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("https://reg.example.com:5000/", "reg.example.com:5000"),
        ("quay.io/org", "quay.io/org"),
    ],
)
def test_a_registry_is_named_as_the_files_name_it(text: str, registry: str) -> None:
    assert normalize_registry(text) == registry


def test_a_login_goes_where_an_older_one_would_hide_it(tmp_path: Path) -> None:
    caller = Caller(uid=99999, gid=99999, home=tmp_path / "home", runtime_dir=tmp_path / "run")
    at_home = tmp_path / "home" / ".config" / "containers" / "auth.json"
    assert choose_auth_file("quay.io", caller, {}) == at_home
    session = tmp_path / "run" / "containers" / "auth.json"
    session.parent.mkdir(parents=True)
    session.write_text(json.dumps({"auths": {"quay.io": entry("old")}}))
    assert choose_auth_file("quay.io", caller, {}) == session
    assert choose_auth_file("other.io", caller, {}) == at_home
    assert choose_auth_file("quay.io", caller, {"REGISTRY_AUTH_FILE": "/named"}) == Path("/named")

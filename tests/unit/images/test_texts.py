"""Credentials, error texts, Containerfiles: small pure decisions."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from podhost.cri.images import AuthConfig
from podhost.images import pull_errors
from podhost.images.containerfile import find_base_images
from podhost.images.registry_auth import (
    build_auth_file,
    build_other_auths,
    is_loopback,
    list_auth_files,
    registry_host,
    select_auths,
)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("http://127.0.0.1:5000/v2/", "127.0.0.1:5000"),
        ("Registry.Example.org", "registry.example.org"),
    ],
)
def test_registry_addresses_of_pull_secrets_are_understood(address: str, host: str) -> None:
    assert registry_host(address) == host


def test_only_credentials_of_the_registry_are_taken_in_their_order() -> None:
    auths = [
        AuthConfig(username="a", server_address="quay.io"),
        AuthConfig(username="b", server_address="https://index.docker.io/v1/"),
        AuthConfig(username="c"),
    ]
    assert [auth.username for auth in select_auths(auths, "docker.io")] == ["b", "c"]


def test_auth_file_is_what_skopeo_reads() -> None:
    data = json.loads(build_auth_file(AuthConfig(username="u", password="p:ä"), "quay.io"))
    assert base64.b64decode(data["auths"]["quay.io"]["auth"]).decode() == "u:p:ä"


def test_auth_file_keeps_what_is_known_of_other_registries_and_nothing_else_of_this_one() -> None:
    others = {
        "auths": {"mirror.io": {"auth": "bTpw"}, "quay.io/team": {"auth": "eDp5"}, "https://quay.io": {"auth": "eDp5"}},
        "credHelpers": {"helped.io": "h", "quay.io": "h"},
    }
    data = json.loads(build_auth_file(AuthConfig(username="u", password="p"), "quay.io", others))
    token = base64.b64encode(b"u:p").decode()
    assert data == {
        "auths": {"mirror.io": {"auth": "bTpw"}, "quay.io": {"auth": token}}, "credHelpers": {"helped.io": "h"}
    }  # fmt: skip


def test_an_identity_token_goes_where_skopeo_looks_for_it() -> None:
    data = json.loads(build_auth_file(AuthConfig(identity_token="t"), "quay.io"))
    assert data["auths"]["quay.io"] == {"auth": base64.b64encode(b":").decode(), "identitytoken": "t"}


def test_credentials_of_other_registries_are_those_of_the_pull_and_then_of_the_first_file_that_has_them() -> None:
    given = [
        AuthConfig(username="wanted", server_address="quay.io"),
        AuthConfig(username="m", password="p", server_address="https://mirror.io/v2/"),
        AuthConfig(username="any"),
    ]
    documents: list[dict[str, Any]] = [
        {"auths": {"mirror.io": {"auth": "no"}, "one.io": {"auth": "one"}}, "credHelpers": {"two.io": "h"}},
        {"auths": {"two.io": {"auth": "late"}, "three.io": {"auth": "3"}}, "credsStore": "x", "credHelpers": "odd"},
    ]
    assert build_other_auths(given, "quay.io", documents) == {
        "auths": {
            "mirror.io": {"auth": base64.b64encode(b"m:p").decode()}, "one.io": {"auth": "one"}, "three.io": {"auth": "3"}
        },
        "credHelpers": {"two.io": "h"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "paths"),
    [
        ({}, ("/run/containers/0/auth.json", "/root/.config/containers/auth.json", "/root/.docker/config.json")),
        (
            {"XDG_RUNTIME_DIR": "/r", "XDG_CONFIG_HOME": "/c", "DOCKER_CONFIG": "/d"},
            ("/r/containers/auth.json", "/c/containers/auth.json", "/d/config.json"),
        ),
        ({"REGISTRY_AUTH_FILE": "/named"}, ("/named",)),
    ],
)
def test_files_are_asked_in_skopeos_order(environ: dict[str, str], paths: tuple[str, ...]) -> None:
    assert tuple(map(str, list_auth_files(environ, Path("/root"), 0))) == paths


@pytest.mark.parametrize(
    "domain", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "[::1]"]
)
def test_registries_on_loopback_may_speak_http(domain: str) -> None:
    assert is_loopback(domain)


@pytest.mark.parametrize("domain", ["docker.io", "128.0.0.1:5000", "localhost.example.org", "10.0.0.1", "[fd00::1]:1"])
def test_other_registries_may_not(domain: str) -> None:
    assert not is_loopback(domain)


def test_fatal_line_of_skopeo_is_taken_out_of_its_log() -> None:
    log = (
        'time="2026-01-01T00:00:00Z" level=warning msg="something else"\n'
        'time="2026-01-01T00:00:00Z" level=fatal msg="initializing source docker://x/y:1: pinging container '
        'registry x: Get \\"https://x/v2/\\": dial tcp: connection refused"\n'
    )
    text = 'pinging container registry x: Get "https://x/v2/": dial tcp: connection refused'
    assert pull_errors.extract_message(log) == text
    assert pull_errors.extract_message("") == "skopeo failed without a message"


@pytest.mark.parametrize(
    ("message", "reason", "part"),
    [
        ("reading manifest 1 in r/x: manifest unknown: manifest unknown", "ErrImagePull", "r/x:1: not found"),
        ("requested access to the resource is denied", "ErrImagePull", "pull access denied"),
        ("unauthorized: authentication required", "ErrImagePull", "may require authorization"),
        (
            'pinging container registry r: Get "https://r/v2/": dial tcp: lookup r: no such host',
            "ErrImagePull",
            'failed to resolve reference "r/x:1": failed to do request: Get "https://r/v2/": dial tcp: lookup r: no',
        ),
        ("received unexpected HTTP status: 502 Bad Gateway", "ErrImagePull", "502"),
        ("writing blob: no space left on device", "ErrImagePull", "no space left on device"),
        ("Source image rejected: Running image r/x:1 is rejected by policy.", "SignatureValidationFailed", "policy"),
        ("Digest did not match, expected a, got b", "ErrImagePull", "Digest did not match"),
    ],
)
def test_causes_have_the_kubelets_reasons(message: str, reason: str, part: str) -> None:
    error = pull_errors.build_pull_error("r/x:1", message)
    assert error.reason == reason
    assert str(error).startswith('failed to pull and unpack image "r/x:1": ')
    assert part in str(error)


@pytest.mark.parametrize(
    ("text", "bases"),
    [
        ("FROM debian\nRUN x", ["debian"]),
        ("# comment\n\nARG TAG=1 \nFROM --platform=linux/amd64 \\\n  nginx:${TAG} AS web\nFROM web\n", ["nginx:1"]),
        ("from gcc as build\nFROM scratch\nCOPY --from=build /a /a\nCOPY --from=busybox:1 /b /b", ["gcc", "busybox:1"]),
        ("FROM a\nFROM b\nCOPY --from=0 /x /x\nFROM a", ["a", "b"]),
        ("ARG BASE\nFROM ${BASE:-alpine:3}", ["alpine:3"]),
        ("FROM x\nRUN --mount=type=bind,from=tools,target=/t true", ["x", "tools"]),
        ("", []),
    ],
)
def test_base_images_of_a_containerfile_are_found(text: str, bases: list[str]) -> None:
    assert find_base_images(text) == bases

"""kubeconfig files: contexts, inline data and files, merging, and errors that name what is missing."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from podhost.client.kubeconfig import kubeconfig_paths, load_kubeconfig, merge_into, resolve_endpoint
from podhost.errors import InvalidError, NotFoundError


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def make_config(**user: Any) -> dict[str, Any]:
    cluster = {"server": "https://127.0.0.1:6443/", "certificate-authority-data": encode(b"CA")}
    return {
        "current-context": "a",
        "contexts": [
            {"name": "a", "context": {"cluster": "c", "user": "u", "namespace": "web"}},
            {"name": "b", "context": {"cluster": "gone", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }


def test_current_context_gives_the_endpoint() -> None:
    config = make_config(**{"client-certificate-data": encode(b"CERT"), "client-key-data": encode(b"KEY")})
    endpoint = resolve_endpoint(config)
    assert (endpoint.server, endpoint.namespace) == ("https://127.0.0.1:6443", "web")
    assert (endpoint.ca_data, endpoint.client_cert, endpoint.client_key) == (b"CA", b"CERT", b"KEY")


@pytest.mark.parametrize(
    ("context", "message"),
    [("x", "cannot find the context 'x' in the kubeconfig; it has: a, b"), ("b", "the cluster 'gone'")],
)
def test_what_is_missing_is_named(context: str, message: str) -> None:
    with pytest.raises(NotFoundError, match=message):
        resolve_endpoint(make_config(), context)


def test_no_current_context_is_an_error() -> None:
    with pytest.raises(NotFoundError, match="no current-context"):
        resolve_endpoint({})


def test_files_are_relative_to_their_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "ca.pem").write_bytes(b"FILE")
    (tmp_path / "sub" / "token").write_text("secret\n")
    config = make_config(tokenFile="token")
    config["clusters"][0]["cluster"] = {"server": "https://h", "certificate-authority": "ca.pem"}
    (tmp_path / "sub" / "config").write_text(json.dumps(config))
    endpoint = resolve_endpoint(load_kubeconfig((tmp_path / "sub" / "config",)))
    assert (endpoint.ca_data, endpoint.token) == (b"FILE", "secret")


def test_first_file_wins_and_missing_files_are_skipped(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text("current-context: a\nusers:\n- name: u\n  user: {token: one}\n")
    second.write_text(
        "current-context: b\nusers:\n- name: u\n  user: {token: two}\n- name: v\n  user: {token: three}\n"
    )
    merged = load_kubeconfig((tmp_path / "0", first, second))
    assert merged["current-context"] == "a"
    assert [(entry["name"], entry["user"]["token"]) for entry in merged["users"]] == [("u", "one"), ("v", "three")]


def test_no_file_at_all_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        load_kubeconfig((tmp_path / "0",))


@pytest.mark.parametrize("text", ["[1, 2]", "{", "a: [", "- 1"])
def test_something_else_is_invalid(text: str, tmp_path: Path) -> None:
    (tmp_path / "c").write_text(text)
    with pytest.raises(InvalidError, match="cannot read the kubeconfig"):
        load_kubeconfig((tmp_path / "c",))


@pytest.mark.parametrize(
    ("explicit", "environ", "expected"),
    [
        ("/x", {"KUBECONFIG": "/a"}, ["/x"]),
        (None, {"KUBECONFIG": "/a:/b"}, ["/a", "/b"]),
        (None, {"HOME": "/home/u"}, ["/home/u/.kube/config"]),
    ],
)
def test_paths_are_found_as_kubectl_finds_them(
    explicit: str | None, environ: dict[str, str], expected: list[str]
) -> None:
    assert [str(path) for path in kubeconfig_paths(explicit, environ)] == expected


def test_merging_replaces_entries_of_the_same_name() -> None:
    mine = {"clusters": [{"name": "c", "cluster": {"server": "old"}}, {"name": "d", "cluster": {}}], "extra": 1}
    result = merge_into(mine, make_config())
    assert [entry["name"] for entry in result["clusters"]] == ["d", "c"]
    assert (result["current-context"], result["extra"], result["kind"]) == ("a", 1, "Config")

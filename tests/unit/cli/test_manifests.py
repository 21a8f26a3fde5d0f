"""Manifests: several documents, directories, and errors that point at a place."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from podhost.cli.manifests import load_manifests, parse_manifests
from podhost.errors import InvalidError, NotFoundError

POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\n"


def test_documents_come_in_order_with_their_lines() -> None:
    found = parse_manifests(POD.format("a") + "---\n" + POD.format("b") + "---\n", "f.yaml")
    assert [(m.name, m.kind, m.api_version, m.source) for m in found] == [
        ("a", "Pod", "v1", "f.yaml:1"),
        ("b", "Pod", "v1", "f.yaml:6"),
    ]


def test_lists_are_taken_apart() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n"
    assert [m.name for m in parse_manifests(text, "f")] == ["a"]


def test_directory_gives_its_yaml_and_json_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "2.yaml").write_text(POD.format("b"))
    (tmp_path / "1.json").write_text('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}')
    (tmp_path / "README.md").write_text("no manifest")
    assert [m.name for m in load_manifests([str(tmp_path)])] == ["a", "b"]


def test_stdin_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(POD.format("a")))
    assert [m.source for m in load_manifests(["-"])] == ["stdin:1"]


def test_what_looks_like_a_date_stays_text() -> None:
    text = POD.format("a") + "  labels: {day: 2026-01-31}\n"
    assert parse_manifests(text, "f")[0].document["metadata"]["labels"]["day"] == "2026-01-31"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", r"f\.yaml:1:4: the bracket `\[` that is opened here is never closed"),
        ("kind: Pod\nmetadata: {name: a}\n", "f.yaml:1:1: `apiVersion` is not set"),
        ("apiVersion: v1\nmetadata: {name: a}\n", "f.yaml:1:1: `kind` is not set"),
        ("apiVersion: v1\nkind: Pod\n", "`metadata.name` is not set"),
        ("apiVersion: v1\nkind: Pod\nmetadata: []\n", r"f\.yaml:3:1: `metadata.name` is not set"),
        ("- 1\n", "a manifest is a mapping"),
        (POD.format("a") + "kind: Service\n", r"f\.yaml:5:1: `kind` is set already in line 2"),
        ("a: !!python/object:os.system x\n", "cannot use f.yaml:1:4: this is not YAML: the tag"),
    ],
)
def test_bad_manifest_names_the_place(text: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        parse_manifests(text, "f.yaml")


def test_missing_file_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        load_manifests(["/nonexistent/pod.yaml"])


def test_empty_input_is_invalid(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("---\n")
    with pytest.raises(InvalidError, match="the input is empty"):
        load_manifests([str(tmp_path / "a.yaml")])

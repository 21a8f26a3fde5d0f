"""Which mirrors ``registries.conf`` has for an image."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from podhost.cli.registry_mirrors import find_mirrors, read_documents

CONFIG = """
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "mirror.example:5000"
[[registry.mirror]]
location = "other.example/hub"
[[registry]]
prefix = "docker.io/team"
location = "inside.example/team"
[[registry]]
prefix = "*.far.example"
location = "near.example"
[[registry]]
location = "plain.example"
"""


@pytest.mark.parametrize(
    ("name", "mirrors"),
    [
        ("docker.io/library/nginx", ["mirror.example:5000", "other.example/hub"]),
        ("docker.io/team/app:1", ["inside.example/team"]),
        ("docker.io/teams/app", ["mirror.example:5000", "other.example/hub"]),
        ("a.b.far.example:443/app", ["near.example"]),
        ("far.example/app", []),
        ("plain.example/app", []),
        ("unknown.example/app", []),
        ("docker.iox/app", []),
    ],
)
def test_the_longest_prefix_has_the_mirrors(name: str, mirrors: list[str]) -> None:
    assert find_mirrors(name, [tomllib.loads(CONFIG)]) == mirrors


def test_a_later_file_replaces_what_an_earlier_one_says_of_a_registry(tmp_path: Path) -> None:
    (tmp_path / "registries.conf").write_text(CONFIG)
    drop_in = tmp_path / "registries.conf.d"
    drop_in.mkdir()
    (drop_in / "1.conf").write_text(
        '[[registry]]\nlocation = "docker.io"\n[[registry.mirror]]\nlocation = "new.example"\n'
    )
    (drop_in / "2.conf").write_text("this is no TOML")
    (drop_in / "README").write_text("nor is this read")
    documents = read_documents((tmp_path / "registries.conf", drop_in, tmp_path / "absent"))
    assert find_mirrors("docker.io/library/nginx", documents) == ["new.example"]


@pytest.mark.parametrize(
    "document", [{"registry": {}}, {"registry": [1, {}]}, {"registry": [{"location": "a", "mirror": [1]}]}]
)
def test_odd_documents_have_no_mirrors(document: dict[str, object]) -> None:
    assert find_mirrors("a/b", [document]) == []

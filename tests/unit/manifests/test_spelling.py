"""The nearest name, and only when it is near."""

from __future__ import annotations

import pytest

from podhost.manifests.spelling import compute_distance, nearest_name

NAMES = ("name", "image", "volumeMounts", "volumeDevices", "command", "args", "env", "envFrom", "ports")


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("volumesMounts", "volumeMounts"),
        ("volume_mounts", "volumeMounts"),
        ("Image", "image"),
        ("iamge", "image"),
        ("comand", "command"),
        ("arg", "args"),
        ("nmae", "name"),
        ("hostNetwork", ""),
        ("x", ""),
        ("", ""),
    ],
)
def test_nearest_name_is_found_only_when_it_is_near(word: str, name: str) -> None:
    assert nearest_name(word, NAMES) == name


def test_two_swapped_neighbours_are_one_edit() -> None:
    assert compute_distance("iamge", "image") == 1

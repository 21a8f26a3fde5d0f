"""Mount tables and overlay options as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.linux.mount import build_overlay_options, parse_mountinfo_line


def test_mountinfo_line_with_optional_fields_and_escapes() -> None:
    info = parse_mountinfo_line(
        r"36 35 98:0 /mnt1\040a /mnt2\011b ro,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue" "\n"
    )
    assert (info.mount_id, info.parent_id) == (36, 35)
    assert info.root == "/mnt1 a"
    assert info.mount_point == Path("/mnt2\tb")
    assert (info.fstype, info.source) == ("ext3", "/dev/root")
    assert info.options == {"ro", "noatime"}
    assert info.propagation == {"shared:1", "master:2"}
    assert info.super_options == {"rw", "errors=continue"}


def test_mountinfo_line_of_a_private_mount_without_source() -> None:
    info = parse_mountinfo_line("22 27 0:21 / /proc rw,relatime -  proc  rw".replace("  ", " "))
    assert info.propagation == frozenset()
    assert (info.fstype, info.source) == ("proc", "rw")
    assert info.super_options == frozenset()


@pytest.mark.parametrize(
    ("lower", "expected"),
    [
        (["/a", "/b"], b"lowerdir=/a:/b,upperdir=/u,workdir=/w"),
        (["/a:b"], rb"lowerdir=/a\:b,upperdir=/u,workdir=/w"),
        (["/a,b"], rb"lowerdir=/a\,b,upperdir=/u,workdir=/w"),
        (["/a\\b"], rb"lowerdir=/a\\b,upperdir=/u,workdir=/w"),
    ],
)
def test_overlay_options_escape_what_overlayfs_splits_at(lower: list[str], expected: bytes) -> None:
    assert build_overlay_options(lower, Path("/u"), Path("/w")) == expected


def test_overlay_options_end_with_extra_ones() -> None:
    data = build_overlay_options(["/a"], Path("/u"), Path("/w"), ("volatile", "index=off"))
    assert data.endswith(b",volatile,index=off")

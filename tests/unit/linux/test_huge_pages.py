"""Huge pages as the kernel lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.linux.huge_pages import format_page_size, read_huge_pages


def test_pages_are_read_by_their_size(tmp_path: Path) -> None:
    for name, content in (("hugepages-1048576kB", "0\n"), ("hugepages-2048kB", "8\n"), ("hugepages-64kB", "?")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "nr_hugepages").write_text(content)
    assert read_huge_pages(tmp_path) == {2 << 20: 16 << 20, 1 << 30: 0}
    assert read_huge_pages(tmp_path / "nothing") == {}


@pytest.mark.parametrize(("size", "text"), [(2 << 20, "2MB"), (1 << 30, "1GB"), (64 << 10, "64KB"), (16 << 30, "16GB")])
def test_size_is_written_as_the_controller_names_it(size: int, text: str) -> None:
    assert format_page_size(size) == text

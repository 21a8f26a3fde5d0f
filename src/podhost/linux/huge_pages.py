"""Huge pages that the host has set aside."""

from __future__ import annotations

import re
from pathlib import Path

_SIZES = Path("/sys/kernel/mm/hugepages")
_UNITS = ("B", "KB", "MB", "GB")


def read_huge_pages(root: Path = _SIZES) -> dict[int, int]:
    """Bytes set aside, by the size of a page; a size without pages is there with 0.  Blocking."""
    found = {}
    for directory in root.glob("hugepages-*kB"):
        size = re.fullmatch(r"hugepages-(\d+)kB", directory.name)
        try:
            count = int((directory / "nr_hugepages").read_text())
        except (OSError, ValueError):
            continue
        if size is not None:
            page = int(size[1]) * 1024
            found[page] = page * count
    return dict(sorted(found.items()))


def format_page_size(size: int) -> str:
    """As the hugetlb controller names it: ``2MB``, ``1GB``."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size // 1024, unit + 1
    return f"{size}{_UNITS[unit]}"

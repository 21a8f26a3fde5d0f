"""What is left of memory, and the kernel's word about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.linux.memory_pressure import MemoryStallWatch, read_available_bytes

MEMINFO = """\
MemTotal:        1000 kB
MemFree:          100 kB
Buffers:           10 kB
Cached:           390 kB
SwapCached:         0 kB
Inactive(file):   250 kB
AnonPages:        300 kB
Slab:             200 kB
"""


def test_idle_cache_is_available_and_used_cache_is_not(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text(MEMINFO)
    assert read_available_bytes(file) == (550 * 1024, 1000 * 1024)


def test_this_machine_has_memory() -> None:
    available, total = read_available_bytes()
    assert 0 < available < total


@pytest.mark.parametrize("content", [None, ""], ids=["no such file", "a file without events"])
async def test_without_the_kernels_word_nothing_is_watched(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "memory"
    if content is not None:
        file.write_text(content)
    watch = MemoryStallWatch(lambda: None, file)
    watch.start()
    assert not watch.is_watching
    watch.stop()

"""What a machine is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.linux.machine import read_machine_id, read_os_name, read_system_uuid


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n', "Debian GNU/Linux 12 (bookworm)"),
        ("PRETTY_NAME=Alpine\n", "Alpine"),
        ("PRETTY_NAME='Some $HOME'\n", "Some $HOME"),
        ('PRETTY_NAME="half\n', '"half'),
        ("NAME=x\n", "Linux"),
        (None, "Linux"),
    ],
)
def test_the_system_is_called_as_os_release_says(tmp_path: Path, text: str | None, name: str) -> None:
    (tmp_path / "etc").mkdir()
    if text is not None:
        (tmp_path / "etc/os-release").write_text(text)
    assert read_os_name(tmp_path) == name


def test_a_machine_without_firmware_has_the_id_of_its_installation(tmp_path: Path) -> None:
    assert read_system_uuid(tmp_path) == read_machine_id(tmp_path) == ""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("abc\n")
    assert read_system_uuid(tmp_path) == read_machine_id(tmp_path) == "abc"
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id/product_uuid").write_text("1-2-3\n")
    assert read_system_uuid(tmp_path) == "1-2-3"

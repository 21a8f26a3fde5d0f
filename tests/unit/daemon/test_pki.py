"""Certificates are made by a child process, which is asked again only when something may have changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from podhost.daemon import pki
from podhost.linux import spawn

NAMES = ("localhost", "127.0.0.1", "host.example")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    asked: list[tuple[str, ...]] = []
    run = spawn.run

    async def counted(argv: list[str], **options: object) -> spawn.Completed:
        asked.append(tuple(argv[-len(NAMES) :]))
        return await run(argv)

    monkeypatch.setattr(spawn, "run", counted)
    return asked


async def test_what_a_child_has_vouched_for_is_not_looked_at_again(
    tmp_path: Path, children: list[tuple[str, ...]]
) -> None:
    first = await pki.ensure_pki(tmp_path / "pki", server_names=NAMES)
    before = {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
    assert {path.name for path in (first.ca.key, first.server.certificate, first.admin.key)} < set(before)
    assert await pki.ensure_pki(tmp_path / "pki", server_names=NAMES[:2]) == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()} == before
    assert children == [NAMES]
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "pki").glob("*.key")} == {0}


def _replace_key(made: pki.Pki) -> None:
    made.server.key.write_text("not a key")


def _spoil_voucher(made: pki.Pki) -> None:
    made.voucher.write_text("{}")


def _remove_account_key(made: pki.Pki) -> None:
    pki.find_account_key(made.ca.key.parent).unlink()


def _remove_certificate(made: pki.Pki) -> None:
    made.admin.certificate.unlink()


@pytest.mark.parametrize("change", [_replace_key, _spoil_voucher, _remove_certificate, _remove_account_key])
async def test_a_change_has_the_files_looked_at(
    tmp_path: Path, children: list[tuple[str, ...]], change: Callable[[pki.Pki], None]
) -> None:
    made = await pki.ensure_pki(tmp_path, server_names=NAMES)
    change(made)
    assert not pki.is_vouched(made, NAMES)
    await pki.ensure_pki(tmp_path, server_names=NAMES)
    assert pki.is_vouched(made, NAMES)
    assert len(children) == 2


async def test_another_name_or_great_age_needs_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await pki.ensure_pki(tmp_path, server_names=NAMES)
    assert not pki.is_vouched(made, (*NAMES, "10.0.0.1"))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 700 * 86400)
    assert pki.is_vouched(made, NAMES)
    monkeypatch.setattr(time, "time", lambda: now + 770 * 86400)
    assert not pki.is_vouched(made, NAMES)


async def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "pki").write_bytes(os.urandom(8))
    with pytest.raises(spawn.CommandError, match="pki"):
        await pki.ensure_pki(tmp_path / "pki", server_names=NAMES)

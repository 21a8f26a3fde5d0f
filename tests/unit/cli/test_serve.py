"""Roots given to ``serve`` hold for the command itself, and others are told of them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from podhost.cli import serve


def parse(*argv: str) -> Namespace:
    parser = ArgumentParser()
    for flag, default in (("--instance", "default"), ("--context", None), ("--kubeconfig", None)):
        parser.add_argument(flag, default=default)
    serve.add_arguments(parser)
    return parser.parse_args(argv)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    sockets: list[Path] = []
    monkeypatch.delenv("PODHOST_RUN_ROOT", raising=False)
    monkeypatch.delenv("PODHOST_DATA_ROOT", raising=False)
    monkeypatch.setattr(serve, "start_daemon", lambda paths, extra: sockets.append(paths.socket))
    return sockets


def test_moved_roots_are_where_the_command_looks_and_others_are_told(
    started: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert serve.run(parse("--detach", "--run-root", "run", "--data-root", "/elsewhere")) == 0
    assert started == [tmp_path / "run/default/podhost.sock"]
    said = capsys.readouterr().err
    assert f"export PODHOST_RUN_ROOT={tmp_path}/run PODHOST_DATA_ROOT=/elsewhere" in said
    assert "/elsewhere/default/daemon.log" in said


def test_nothing_is_told_of_roots_that_the_environment_has(
    started: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PODHOST_RUN_ROOT", "/somewhere")
    serve.run(parse("--detach", "--run-root", "/somewhere"))
    assert started == [Path("/somewhere/default/podhost.sock")]
    assert "export" not in capsys.readouterr().err

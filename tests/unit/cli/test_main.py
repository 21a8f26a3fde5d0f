"""The command line as a whole: dispatch, exit codes, errors in words."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from podhost.cli.failure import HintedError, compute_hints
from podhost.cli.main import COMMANDS, find_command, main, parse_words, parser_of
from podhost.errors import DeniedError, UnavailableError


@pytest.mark.parametrize(
    ("words", "index"),
    [
        (["ps"], 0),
        (["--instance", "up", "up", "f"], 2),
        (["-n", "web", "--context=prod", "logs"], 3),
        (["--help"], None),
        ([], None),
    ],
)
def test_command_is_the_first_word_that_is_no_flag(words: list[str], index: int | None) -> None:
    assert find_command(words) == index


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"usage: podhost {name}" in capsys.readouterr().out


def test_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fly"]) == 2
    assert "unknown command 'fly'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        (
            "logs",
            ["one", "-f", "two", "--tail=5", "three"],
            {"pods": ["one", "two", "three"], "follow": True, "tail": 5},
        ),
        ("up", ["-d", "a.yaml", "--timeout", "3", "b.yaml"], {"files": ["a.yaml", "b.yaml"], "timeout": 3.0}),
        ("down", ["a", "--now", "b", "-n", "x"], {"targets": ["a", "b"], "namespace": "x"}),
        ("exec", ["one", "-c", "main", "--", "ls", "-l"], {"pod": "one", "command": ["ls", "-l"], "container": "main"}),
        ("image", ["rm", "a", "b"], {"verb": "rm", "refs": ["a", "b"]}),
        ("completion", ["bash", "--ask", "podhost ps --"], {"ask": ["podhost ps --"]}),
    ],
)
def test_flags_may_stand_between_arguments(name: str, words: list[str], expected: dict[str, object]) -> None:
    found = vars(parse_words(parser_of(name), words))
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("word", "meant"), [("lgos", "logs"), ("apply", "up"), ("images", "image ls"), ("desribe", "describe")]
)
def test_word_that_is_near_or_known_from_elsewhere_is_understood(
    word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word]) == 2
    assert f"unknown command '{word}': did you mean 'podhost {meant}'?" in capsys.readouterr().err


def test_help_is_a_word_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    assert "commands:" in capsys.readouterr().out
    assert main(["help", "ps"]) == 0
    assert "usage: podhost ps" in capsys.readouterr().out


def test_daemon_that_does_not_run_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PODHOST_RUN_ROOT", str(tmp_path))
    assert main(["ps"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"podhost: cannot reach the podhost daemon at {tmp_path}/default/podhost.sock")
    assert "podhost serve" in err


def test_version_works_without_a_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PODHOST_RUN_ROOT", str(tmp_path))
    assert main(["version"]) == 0
    assert "client   podhost" in capsys.readouterr().out


def test_bad_instance_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--instance", "../x", "ps"]) == 1
    assert "cannot use the instance name '../x'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (DeniedError("cannot use the socket /run/x: permission denied"), "usermod -aG podhost"),
        (UnavailableError("cannot reach the podhost daemon at /run/x: gone"), "sudo podhost --instance b serve"),
        (HintedError("cannot fly", "grow wings"), "grow wings"),
    ],
)
def test_errors_bring_their_next_step(error: Exception, hint: str) -> None:
    args = argparse.Namespace(instance="b", context=None)
    hints = compute_hints(error, args, is_root=False)  # type: ignore[arg-type]
    assert any(hint in text for text in hints)


@pytest.mark.parametrize("name", ["version", "ps", "logs", "exec", "events", "restart", "up", "completion"])
def test_light_commands_import_nothing_heavy(name: str) -> None:
    """``podhost ps`` has 100 ms for everything; a Tab should not be felt."""
    import subprocess

    code = (
        f"import sys, podhost.cli.main as m\nm.parser_of({name!r})\n"
        "heavy = {'aiohttp', 'yaml', 'msgspec', 'rich', 'pyroute2', 'asyncio', 'cryptography'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words", [["--instance", "two", "ls"], ["ls", "--instance", "two"], ["--instance", "one", "ls", "--instance=two"]]
)
def test_global_flags_may_follow_the_verb_of_a_command(words: list[str]) -> None:
    args = parse_words(parser_of("image"), words)
    assert (args.verb, args.instance, args.context, args.namespace) == ("ls", "two", None, None)


def test_verbs_without_global_flags_leave_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODHOST_INSTANCE", "three")
    args = parse_words(parser_of("image"), ["-n", "shop", "ls"])
    assert (args.instance, args.namespace) == ("three", "shop")

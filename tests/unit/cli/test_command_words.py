"""What a half-written command line asks for, with the parsers of the real commands."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import pytest

from podhost.cli.command_words import kinds_of, parse_words
from podhost.cli.completion import answer, split_line
from podhost.cli.main import COMMANDS, parser_of


@pytest.fixture(autouse=True)
def _no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs on this machine has no part in it."""
    monkeypatch.setenv("PODHOST_RUN_ROOT", str(tmp_path))


@pytest.mark.parametrize(
    ("line", "kinds", "given"),
    [
        ("logs ^", ("pod",), {}),
        ("logs one ^", ("pod",), {"pod": "one"}),
        ("logs one two -c ^", ("container",), {"pod": "one"}),
        ("-n shop logs one --container=^", ("container",), {"pod": "one", "namespace": "shop"}),
        ("logs -nshop one -fc ^", ("pod",), {"namespace": "shop", "pod": "one"}),
        ("logs --tail 5 -f ^", ("pod",), {"tail": "5"}),
        ("logs --tail ^", (), {}),
        ("--context prod --instance ^", ("instance",), {"context": "prod"}),
        ("up one.yaml ^", ("file",), {"files": "one.yaml"}),
        ("down ^", ("file", "pod"), {}),
        ("describe ^", ("pod", "object"), {}),
        ("exec one ^", (), {"pod": "one"}),
        ("exec one -- ls -^", (), {"pod": "one", "command": "ls"}),
        ("channels one two ^", (), {"pod": "one"}),
        ("image rm ^", ("image",), {}),
        ("image build -f ^", (), {}),
        ("kubeconfig -o ^", ("file",), {}),
        ("cp one:/x ^", ("pod-path", "file"), {"source": "one:/x"}),
        ("port-forward ^", ("pod", "object"), {}),
        ("man ^", ("command",), {}),
    ],
)
def test_place_is_known_from_the_parser(line: str, kinds: tuple[str, ...], given: dict[str, str]) -> None:
    words = [word.removesuffix("^") for word in shlex.split(line)]
    wanted = parse_words(words, COMMANDS, parser_of)
    assert wanted.kinds == kinds
    assert wanted.given == given


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ([""], set(COMMANDS)),
        (["lo"], {"login", "logout", "logs"}),
        (["--con"], {"--context"}),
        (["ps", "-o", ""], {"wide", "json", "yaml", "name"}),
        (["ps", "--output=j"], {"--output=json"}),
        (["image", "p"], {"pull", "prune"}),
        (["image", "build", "--"], {"--help", "--tag", "--name", "--file"}),
        (["nonsense", ""], set()),
        (["exec", "one", "--", "-"], set()),
    ],
)
def test_fixed_words_need_no_server(words: list[str], offered: set[str]) -> None:
    *lines, directive = answer(words, "zsh")
    assert {line.split("\t")[0] for line in lines} == offered
    assert directive == ":"


def test_files_are_the_shells_own_unless_they_are_in_a_pod() -> None:
    assert answer(["up", "x"], "fish") == [":files"]
    assert answer(["cp", "./x"], "fish") == [":files"]
    assert answer(["cp", "web:/x"], "fish") == [":"]


def test_bash_gets_only_what_stands_behind_its_word_breaks() -> None:
    assert [line.split("\t")[0] for line in answer(["ps", "--output=j"], "bash")] == ["json", ":"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("podhost", [""]),
        ("podhost ", [""]),
        ("podhost lo", ["lo"]),
        ("podhost logs ", ["logs", ""]),
        ("podhost up 'my file", ["up", "'my", "file"]),
        ("podhost up my\\ file", ["up", "my file"]),
        ("podhost logs # ", ["logs", "#", ""]),
    ],
)
def test_line_is_cut_as_the_shell_would(line: str, words: list[str]) -> None:
    assert split_line(line) == words


def test_new_command_is_completed_by_its_metavars() -> None:
    parser = argparse.ArgumentParser()
    source = parser.add_argument("source", metavar="SOURCE")
    target = parser.add_argument("target", metavar="POD|TYPE/NAME")
    flag = parser.add_argument("--container", metavar="NAME")
    assert [kinds_of(action) for action in (source, target, flag)] == [
        ("pod-path", "file"),
        ("pod", "object"),
        ("container",),
    ]

"""Completion in real shells, and the manual in the real man."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.daemon import Daemon
from harness.terminal import Terminal, on_terminal
from podhost.cli.main import COMMANDS

BIN = Path(sys.executable).parent
POD = """
apiVersion: v1
kind: Pod
metadata: {name: completed, labels: {app: shop}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: debian, command: [sleep, "1000"]}
  - {name: sidecar, image: debian, command: [sleep, "1000"]}
"""
SHELLS = {
    "bash": ["bash", "--noprofile", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
PREPARE = {
    "bash": "PS1='READY> '; source <(podhost completion bash)",
    "zsh": "PROMPT='READY> '; setopt no_beep; autoload -Uz compinit; compinit -u -D; source <(podhost completion zsh)",
}


@pytest.fixture(scope="module")
def pod(daemon: Daemon) -> Iterator[str]:
    daemon.podhost("up", "-d", "-", stdin=POD)
    yield "completed"
    daemon.podhost("down", "completed", "--now")


@pytest.fixture
def environment(daemon: Daemon) -> dict[str, str]:
    return {**daemon.environment(), "PATH": f"{BIN}:{os.environ['PATH']}"}


@pytest.fixture(params=list(SHELLS))
def shell(request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path) -> Iterator[Terminal]:
    name: str = request.param
    (tmp_path / "manifest-of-mine.yaml").write_text(POD)
    with on_terminal({**environment, "HOME": str(tmp_path)}, SHELLS[name], columns=200) as terminal:
        terminal.press(f"cd {tmp_path}; {PREPARE[name]}; echo pre''pared\n")
        terminal.read_until(r"prepared\n(.|\n)*READY> $")
        yield terminal


def complete(shell: Terminal, typed: str, completed: str) -> None:
    """Type, press Tab, see the whole word; then an empty line again."""
    shell.raw = ""
    shell.press(typed + "\t")
    shell.read_until(completed)
    shell.press("\x15")  # Ctrl-U
    shell.press("echo ne''xt\n")
    shell.read_until(r"next\n(.|\n)*READY> $")


def test_bash_and_zsh_complete_commands_flags_and_what_the_server_has(shell: Terminal, pod: str) -> None:
    complete(shell, "podhost descr", "podhost describe ")
    complete(shell, "podhost ps --show", "podhost ps --show-labels ")
    complete(shell, "podhost ps -o wi", "podhost ps -o wide ")
    complete(shell, "podhost logs compl", "podhost logs completed ")
    complete(shell, "podhost logs completed -c si", "podhost logs completed -c sidecar ")
    complete(shell, "podhost --namespace=kube-pu", "podhost --namespace=kube-public ")
    complete(shell, "podhost describe service/kub", "podhost describe service/kubernetes ")
    complete(shell, "podhost image inspect training/webapp:la", "podhost image inspect training/webapp:latest ")
    complete(shell, "podhost cp compl", "podhost cp completed:")
    complete(shell, "podhost cp completed:/x manifest-o", r"podhost cp completed:/x manifest-of-mine\.yaml ")
    complete(shell, "podhost up manifest-o", r"podhost up manifest-of-mine\.yaml ")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("podhost descr", "describe"),
        ("podhost logs compl", "completed"),
        ("podhost exec completed -c ", "sidecar"),
        ("podhost -n default logs -l ", "app=shop"),
        ("podhost ps -o ", "yaml"),
        ("podhost image r", "rm"),
    ],
)
def test_fish_completes(environment: dict[str, str], pod: str, typed: str, offered: str) -> None:
    script = f"podhost completion fish | source; complete -C '{typed}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert offered in [line.split("\t")[0] for line in done.stdout.splitlines()], done.stdout + done.stderr


def test_every_manual_page_is_rendered_by_man_without_a_warning(
    daemon: Daemon, environment: dict[str, str], tmp_path: Path
) -> None:
    daemon.podhost("man", "--write", str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"podhost.1", *(f"podhost-{name}.1" for name in COMMANDS)}
    for path in tmp_path.iterdir():
        done = subprocess.run(
            ["man", "--warnings", "-P", "cat", "-l", str(path)],
            env={**environment, "MANWIDTH": "80", "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == "", path.name
        assert "EXAMPLES" in done.stdout or path.name == "podhost.1"


def test_man_shows_a_page_on_a_terminal(environment: dict[str, str]) -> None:
    command = [str(BIN / "podhost"), "man", "up"]
    with on_terminal({**environment, "MANPAGER": "cat"}, command) as terminal:
        shown = terminal.read_until(r"SEE ALSO\n +podhost\(1\)")
    assert "podhost up --rm job.yaml" in shown

"""``podhost completion``: completion for bash, zsh and fish.

The scripts only ask ``podhost completion --ask``: what is offered is computed here, from the parsers of the commands
and from the server, the same in each shell.
"""

from __future__ import annotations

import argparse
import shlex
import signal
from collections.abc import Sequence

from podhost.cli.candidates import find_candidates
from podhost.cli.command_words import Wanted, parse_words
from podhost.cli.completion_scripts import SCRIPTS
from podhost.cli.terminal import clean_text

_ASK_LIMIT_S = 4
_BY_SHELL = ("file", "directory")
_EXAMPLES = """\
It completes commands, flags and their values, and what the server has: pods, containers, namespaces, labels,
images; contexts of the kubeconfig, and instances of this machine.

examples:
  source <(podhost completion bash)                      in this bash
  source <(podhost completion zsh)                       in this zsh, after compinit
  podhost completion fish | source                       in this fish

for every session:
  podhost completion bash > ~/.local/share/bash-completion/completions/podhost
  podhost completion zsh > "${fpath[1]}/_podhost"
  podhost completion fish > ~/.config/fish/completions/podhost.fish
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("shell", choices=tuple(SCRIPTS), help="whose script to print")
    parser.add_argument("--ask", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    if args.ask is None:
        print(SCRIPTS[args.shell], end="")
        return 0
    # A server that does not answer must not hang the shell.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_ASK_LIMIT_S)
    words = list(args.ask)
    if args.shell == "bash":
        words = split_line(words[0] if words else "")
    print("\n".join(answer(words or [""], args.shell)))
    return 0


def split_line(line: str) -> list[str]:
    """Words of a line up to the cursor, the last one perhaps empty; bash's own words are cut at ``=`` and ``:``."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
        lexer.whitespace_split = True
        lexer.commenters = ""
        words = list(lexer)
    except ValueError:
        words = line.split()
    ends_open = not line or (line[-1].isspace() and not line.endswith("\\ "))
    return [*words[1:], ""] if ends_open else words[1:] or [""]


def answer(words: Sequence[str], shell: str) -> list[str]:
    """Lines ``word TAB meaning``, and at last a colon with what the shell is to do: ``files``, ``directories``.

    ``nospace`` says that more of the same word follows.
    """
    from podhost.cli.main import COMMANDS, parser_of

    current = words[-1]
    wanted = parse_words(words, COMMANDS, parser_of)
    value = current[len(wanted.prefix) :]
    pairs = [(word, text) for word, text in _pairs(wanted, value) if word.startswith(value)]
    cut = _kept_by_bash(current) if shell == "bash" else 0
    lines = [f"{(wanted.prefix + word)[cut:]}\t{clean_text(text)}" for word, text in dict(pairs).items()]
    return [*lines, _directive(wanted, value, [word for word, _ in pairs])]


def _pairs(wanted: Wanted, value: str) -> list[tuple[str, str]]:
    pairs = list(wanted.words.items())
    for kind in wanted.kinds:
        if kind not in _BY_SHELL:
            pairs += find_candidates(kind, wanted.given, value)
    return pairs


def _kept_by_bash(current: str) -> int:
    """bash replaces only what stands behind the last ``=`` or ``:``."""
    return max(current.rfind("="), current.rfind(":")) + 1


def _directive(wanted: Wanted, value: str, words: Sequence[str]) -> str:
    tags = []
    # What stands in a pod is not on this machine's disk.
    if "file" in wanted.kinds and not ("pod-path" in wanted.kinds and ":" in value):
        tags.append("files")
    if "directory" in wanted.kinds:
        tags.append("directories")
    if words and all(word.endswith(("/", "=", ":")) for word in words):
        tags.append("nospace")
    return ":" + ",".join(tags)

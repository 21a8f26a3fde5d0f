"""``podhost man``: the manual, made from the same parsers as ``--help``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from podhost.cli.failure import HintedError

_EXAMPLES = """\
examples:
  podhost man                              podhost itself
  podhost man up                           one command
  sudo podhost man --write /usr/local/share/man/man1    then also: man podhost-up
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("page", nargs="?", metavar="COMMAND-NAME", help="the command; default: podhost itself")
    parser.add_argument("--write", metavar="DIRECTORY", help="write all pages there instead of showing one")


def run(args: argparse.Namespace) -> int:
    from podhost.cli.main import COMMANDS

    if args.write:
        return _write_all(Path(args.write))
    name = args.page or ""
    if name and name not in COMMANDS:
        raise HintedError(f"cannot find a manual page of '{name}'", "see all commands: podhost --help")
    text = build_page(name)
    if not sys.stdout.isatty():
        print(text, end="")
        return 0
    return _show(text)


def build_page(name: str) -> str:
    """The page of a command, or podhost's own for an empty name."""
    from podhost import __version__
    from podhost.cli.main import COMMANDS, add_global_arguments, parser_of
    from podhost.cli.man_pages import build_command_page, build_overview_page

    if name:
        return build_command_page(name, COMMANDS[name], parser_of(name), __version__)
    parser = argparse.ArgumentParser(prog="podhost", add_help=False)
    add_global_arguments(parser)
    return build_overview_page(COMMANDS, parser, __version__)


def _write_all(directory: Path) -> int:
    from podhost.cli.main import COMMANDS

    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "podhost.1").write_text(build_page(""))
        for name in COMMANDS:
            (directory / f"podhost-{name}.1").write_text(build_page(name))
    except OSError as error:
        raise HintedError(f"cannot write manual pages to '{directory}': {error.strerror}") from error
    print(f"{directory}: {len(COMMANDS) + 1} pages")
    return 0


def _show(text: str) -> int:
    """In man, which knows the terminal and the pager."""
    read_fd = os.memfd_create("page")
    try:
        os.write(read_fd, text.encode())
        path = f"/proc/{os.getpid()}/fd/{read_fd}"
        return subprocess.run(["man", "-l", path], check=False).returncode
    except FileNotFoundError as error:
        raise HintedError("cannot show the page: 'man' is not installed", "apt install man-db, or --help") from error
    finally:
        os.close(read_fd)

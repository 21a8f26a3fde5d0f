"""``podhost fix``: mend what is certain in manifests; the change is shown before anything is written."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from podhost.cli.failure import HintedError
from podhost.cli.manifest_sources import is_url, list_sources, read_source
from podhost.cli.terminal import has_colour, paint, say
from podhost.manifests.faults import quantify

_EXAMPLES = """\
Without --yes a terminal is asked; elsewhere the change is only shown.

exit codes:
  0    nothing is wrong (any more)
  1    something is left to do by hand, or nothing was written

examples:
  podhost fix pod.yaml                     show the change, then ask
  podhost fix --yes manifests/
  podhost fix - < pod.yaml > mended.yaml
"""
EXIT_UNMENDED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="files, directories, or - (stdin to stdout)")
    parser.add_argument("-y", "--yes", "--write", dest="yes", action="store_true", help="write without asking")
    parser.epilog = _EXAMPLES


def run(args: argparse.Namespace) -> int:
    code = 0
    for name in args.files:
        for source in list_sources(name):
            code = max(code, _fix(source, args.yes))
    return code


def _fix(source: str, yes: bool) -> int:
    from podhost.manifests.report import check_text, mend_text

    if is_url(source):
        raise HintedError(f"cannot write to '{source}'", "fetch it first: curl -O …")
    name, text = read_source(source)
    mended, faults = mend_text(text)
    left = [fault for fault in check_text(mended, with_warnings=False).faults if fault.severity == "error"]
    if source == "-":
        sys.stdout.write(mended)
        return EXIT_UNMENDED if left else 0
    if mended == text:
        _say_left(name, len(left))
        return EXIT_UNMENDED if left else 0
    _print_diff(name, text, mended)
    if not (yes or _ask(name)):
        say(f"{name} is as it was; to write this: podhost fix --yes {name}", mark="•", colour="grey")
        return EXIT_UNMENDED
    _write(Path(source), mended)
    what = quantify(len(faults), "fault")
    say(f"{name}: {what} mended", mark="✓", colour="green")
    if left:
        _say_left(name, len(left))
    return EXIT_UNMENDED if left else 0


def _say_left(name: str, count: int) -> None:
    if not count:
        say(f"{name}: nothing to mend", mark="✓", colour="green")
        return
    what = f"{quantify(count, 'fault')} {'is' if count == 1 else 'are'}"
    say(
        f"{name}: {what} left that only its author can mend; see: podhost check {name}",
        mark="✗",
        colour="red",
    )


def _print_diff(name: str, before: str, after: str) -> None:
    colour = has_colour(sys.stdout)
    hues = {"+": "green", "-": "red", "@": "cyan"}
    for line in difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{name} (as it is)", f"{name} (mended)", lineterm=""
    ):
        hue = hues.get(line[:1])
        print(paint(line, hue, enabled=colour) if hue else line)


def _ask(name: str) -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input(f"write this to {name}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _write(path: Path, text: str) -> None:
    """In place: owner, mode and links of the file stay."""
    try:
        path.write_bytes(text.encode())
    except OSError as error:
        raise HintedError(f"cannot write '{path}': {error}") from error

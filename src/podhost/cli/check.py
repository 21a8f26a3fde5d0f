"""``podhost check``: what is wrong with manifests, without running anything."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from podhost.cli.failure import print_failure
from podhost.cli.manifest_sources import list_sources, read_source
from podhost.cli.terminal import choose_size, has_colour, paint, say
from podhost.errors import PodhostError

if TYPE_CHECKING:
    from podhost.manifests.faults import Fault
    from podhost.manifests.report import TextReport

_EXAMPLES = """\
exit codes:
  0    nothing is wrong
  1    there are faults; with --strict also: warnings
  2    a file cannot be read
  3    no faults, but --diff shows changes

examples:
  podhost check pod.yaml
  podhost check --diff manifests/          also what `up` would change
  podhost check -o github manifests/       annotations for a pull request
  kustomize build . | podhost check --strict -
"""
EXIT_FAULTS, EXIT_UNREADABLE, EXIT_DIFFERS = 1, 2, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="files, directories, URLs, or - for stdin")
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "line", "github", "json"),
        default="text",
        help="text with the lines shown; file:line:column for editors; annotations for GitHub; JSON",
    )
    parser.add_argument("--strict", action="store_true", help="warnings are faults too")
    parser.add_argument("--diff", action="store_true", help="also show what `up` would change in what runs")
    parser.epilog = _EXAMPLES


def run(args: argparse.Namespace) -> int:
    texts, unreadable = _check_all(args)
    if args.output == "json":
        _print_json(texts, unreadable)
    else:
        for name, report in texts:
            _print_faults(name, report, args.output)
    for error in unreadable:
        print_failure(error, args)
    if args.output == "text":
        _summarise(texts)
    if unreadable:
        return EXIT_UNREADABLE
    if any(_is_bad(fault, args.strict) for _, report in texts for fault in report.faults):
        return EXIT_FAULTS
    if args.diff:
        from podhost.cli.manifest_diff import print_differences

        return EXIT_DIFFERS if print_differences(args, texts) else 0
    return 0


def _check_all(args: argparse.Namespace) -> tuple[list[tuple[str, TextReport]], list[PodhostError]]:
    """Every file; one that cannot be read does not keep the others from being checked."""
    from podhost.manifests.report import check_text

    # What this machine does not honour is no fault elsewhere.
    local = not args.context and not args.kubeconfig
    texts: list[tuple[str, TextReport]] = []
    unreadable: list[PodhostError] = []
    for source in _list_all(args.files, unreadable):
        try:
            shown, text = read_source(source)
            texts.append(
                (shown, check_text(text, namespace=args.namespace or "", with_warnings=local, on_podhost=local))
            )
        except PodhostError as error:
            unreadable.append(error)
    return texts, unreadable


def _list_all(names: Sequence[str], unreadable: list[PodhostError]) -> list[str]:
    sources = []
    for name in names:
        try:
            sources += list_sources(name)
        except PodhostError as error:
            unreadable.append(error)
    return sources


def _is_bad(fault: Fault, strict: bool) -> bool:
    return fault.severity == "error" or (strict and fault.severity == "warning")


def _print_faults(name: str, report: TextReport, output: str) -> None:
    from podhost.manifests import render

    colour = has_colour(sys.stdout)
    width = choose_size(pipe_width=160).columns
    for fault in report.faults:
        if output == "line":
            print(render.render_line(name, fault))
        elif output == "github":
            print(render.render_github(name, fault))
        else:
            paint_it = lambda text, hue: paint(text, hue, enabled=colour)  # noqa: E731
            print(render.render_fault(name, fault, report.lines, paint_it, width=width) + "\n")


def _print_json(texts: Sequence[tuple[str, TextReport]], unreadable: Sequence[PodhostError]) -> None:
    from podhost.manifests.render import to_json

    faults = [to_json(name, fault) for name, report in texts for fault in report.faults]
    objects = [
        {
            "file": name,
            "line": found.line,
            "kind": found.document.get("kind"),
            "name": _name_of(found.document),
        }
        for name, report in texts
        for found in report.objects
    ]
    print(
        json.dumps({"faults": faults, "objects": objects, "unreadable": [str(error) for error in unreadable]}, indent=2)
    )


def _name_of(document: dict[str, object]) -> object:
    metadata = document.get("metadata")
    return metadata.get("name") if isinstance(metadata, dict) else None


def _summarise(texts: Sequence[tuple[str, TextReport]]) -> None:
    from podhost.manifests.render import summarise

    faults = [(name, fault) for name, report in texts for fault in report.faults]
    counts = {word: sum(fault.severity == word for _, fault in faults) for word in ("error", "warning", "note")}
    mendable = [(name, fault) for name, fault in faults if fault.mendable and name != "stdin"]
    names = list(dict.fromkeys(name for name, _ in mendable))
    objects = sum(len(report.objects) for _, report in texts)
    if not texts:
        return
    mark, colour = ("✗", "red") if counts["error"] else ("✓", "green")
    say(summarise(counts, objects, len(mendable), names), mark=mark, colour=colour)

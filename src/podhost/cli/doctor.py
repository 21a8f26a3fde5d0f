"""``podhost doctor``: what this machine has, what it lacks, and the command that mends it."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict

from podhost.cli.doctor_checks import Check, Machine, read_distribution, run_checks
from podhost.cli.output import print_document
from podhost.cli.session import instance_paths, require_local
from podhost.cli.terminal import has_colour, paint

_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("json", "yaml"), help="a document instead of text")
    parser.epilog = (
        "exit codes:\n"
        "  0    podhost can run here, perhaps with warnings\n"
        "  1    something that it needs is missing\n\n"
        "examples:\n"
        "  sudo podhost doctor\n"
        "  podhost doctor -o json | jq '.[] | select(.level == \"fail\")'\n"
    )


def run(args: argparse.Namespace) -> int:
    require_local(args, "check the machine")
    paths = instance_paths(args.instance)
    machine = Machine(
        distribution=read_distribution(),
        euid=os.geteuid(),
        instance=paths.name,
        socket_path=paths.socket,
        data_root=paths.data_root,
    )
    checks = run_checks(machine)
    failed = sum(check.level == "fail" for check in checks)
    if args.output:
        print_document([asdict(check) for check in checks], args.output)
        return 1 if failed else 0
    for check in checks:
        print(format_check(check, colour=has_colour(sys.stdout)))
    warned = sum(check.level == "warn" for check in checks)
    if failed:
        print(f"\n{failed} of {len(checks)} checks failed: podhost cannot run here before they are mended.")
    else:
        print(f"\npodhost can run here{f' ({warned} warnings)' if warned else ''}.")
    return 1 if failed else 0


def format_check(check: Check, *, colour: bool) -> str:
    mark, shade = _MARKS[check.level]
    lines = [f"{paint(mark, shade, enabled=colour)} {check.name:<13} {check.detail}"]
    if check.mend:
        lines.append(f"    → {check.mend}")
    return "\n".join(lines)

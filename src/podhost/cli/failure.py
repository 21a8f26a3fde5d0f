"""Errors as people read them: what could not be done, why, and what to do about it."""

from __future__ import annotations

import argparse
import os
import sys

from podhost.errors import DeniedError, PodhostError, UnavailableError


class HintedError(PodhostError):
    """A failure that brings its own next steps."""

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.hints = hints


class ToldError(PodhostError):
    """A failure that tells itself in full: several lines, with the next steps."""

    def tell(self, *, colour: bool) -> str:
        raise NotImplementedError


def print_failure(error: PodhostError, args: argparse.Namespace | None = None) -> None:
    """One line of error, then one line for each next step, on stderr."""
    from podhost.cli.hints import complete_hint

    if isinstance(error, ToldError):
        from podhost.cli.terminal import has_colour

        print(error.tell(colour=has_colour(sys.stderr)), file=sys.stderr)
    else:
        print(f"podhost: {error}", file=sys.stderr)
    for hint in compute_hints(error, args, is_root=os.geteuid() == 0):
        print(f"  → {complete_hint(hint)}", file=sys.stderr)


def compute_hints(error: PodhostError, args: argparse.Namespace | None, *, is_root: bool) -> tuple[str, ...]:
    """Next steps for an error, most useful first."""
    if isinstance(error, HintedError):
        return error.hints
    if getattr(args, "context", None):
        return ()
    instance = getattr(args, "instance", "default")
    flag = "" if instance == "default" else f" --instance {instance}"
    sudo = "" if is_root else "sudo "
    if isinstance(error, DeniedError) and "socket" in str(error):
        return (
            f"use sudo, or join the group podhost: sudo usermod -aG podhost {os.environ.get('USER', '$USER')}"
            " (then log in again; being in it is as good as root)",
        )
    if isinstance(error, UnavailableError) and "daemon" in str(error):
        return (
            f"start it: {sudo}podhost{flag} serve (or {sudo}podhost{flag} up FILE)",
            f"if it should be running, look at its log and at: {sudo}podhost{flag} doctor",
        )
    return ()

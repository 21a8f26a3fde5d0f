"""Next steps that can be pasted: a command in them gets the flags that this command was called with."""

from __future__ import annotations

import argparse
import os
import re
import shlex

from podhost.cli.terminal import say

_HERE_ONLY = ("check", "fix", "completion", "man")
_instance: list[str] = []
_flags: list[str] = []
_namespace: list[str] = []


def remember_flags(args: argparse.Namespace) -> None:
    """Which server and namespace were chosen by flags; what the environment says goes without saying."""
    _instance.clear()
    _flags.clear()
    _namespace.clear()
    instance = getattr(args, "instance", "default")
    if instance != (os.environ.get("PODHOST_INSTANCE") or "default"):
        _instance.extend(("--instance", instance))
    _flags.extend(_instance)
    for name in ("context", "kubeconfig"):
        if getattr(args, name, None):
            _flags.extend((f"--{name}", str(getattr(args, name))))
    if getattr(args, "namespace", None):
        _namespace.extend(("-n", str(args.namespace)))


def complete_hint(text: str) -> str:
    """``podhost logs web`` as ``podhost --instance two logs web``."""
    if not _flags and not _namespace:
        return text
    from podhost.cli.main import COMMANDS

    names = "|".join(name for name in COMMANDS if name not in _HERE_ONLY)

    def insert(match: re.Match[str]) -> str:
        # The machine is checked for an instance of it, whatever server was meant.
        flags = [*(_instance if match[1] == "doctor" else _flags)]
        if match[1] not in ("doctor", "stop", "serve", "image", "version") and " -n " not in text and " -A" not in text:
            flags += _namespace
        return f"podhost {shlex.join(flags)} {match[1]}" if flags else match[0]

    return re.sub(rf"\bpodhost ({names})\b", insert, text)


def say_hint(text: str) -> None:
    say(f"  → {complete_hint(text)}")

"""``podhost kubeconfig``: write the instance's kubeconfig into the caller's home and print its path."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from podhost.cli.session import OWN_API, Caller, calling_user, connect, require_local
from podhost.client.kubeconfig import load_kubeconfig, merge_into


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--merge", action="store_true", help="add it to ~/.kube/config and make it current there")
    parser.add_argument("--stdout", action="store_true", help="print the kubeconfig itself instead")
    parser.add_argument("--output", "-o", metavar="FILE", help="write it there (default: ~/.kube/podhost-INSTANCE)")
    parser.epilog = (
        "examples:\n"
        "  export KUBECONFIG=$(podhost kubeconfig)  for kubectl, helm, k9s …\n"
        "  podhost kubeconfig --merge               beside your other clusters\n"
        "  podhost kubeconfig --stdout\n"
    )


def run(args: argparse.Namespace) -> int:
    require_local(args, "write the kubeconfig")
    text = fetch(args)
    if args.stdout:
        sys.stdout.write(text)
        return 0
    caller = calling_user()
    path = target_path(args, caller)
    if args.merge:
        text = merged(path, text)
    write_private(path, text, caller)
    print(path)
    return 0


def fetch(args: argparse.Namespace) -> str:
    """The kubeconfig as the daemon gives it, YAML or JSON."""
    answer = connect(args).get(f"{OWN_API}/kubeconfig")
    if "text" in answer:
        return str(answer["text"])
    import json

    return json.dumps(answer.get("kubeconfig", answer), indent=2) + "\n"


def target_path(args: argparse.Namespace, caller: Caller) -> Path:
    if args.output:
        return Path(args.output).absolute()
    if args.merge:
        return caller.home / ".kube" / "config"
    return caller.home / ".kube" / f"podhost-{args.instance}"


def merged(path: Path, text: str) -> str:
    """The caller's own kubeconfig with this instance added."""
    import yaml

    existing = load_kubeconfig((path,)) if path.exists() else {}
    return yaml.safe_dump(merge_into(existing, yaml.safe_load(text)), sort_keys=False)


def write_private(path: Path, text: str, caller: Caller) -> None:
    """Atomically, mode 0600, owned by the caller, as are the directories made for it."""
    for directory in (path.parent.parent, path.parent):
        if not directory.exists():
            directory.mkdir(mode=0o700)
            os.chown(directory, caller.uid, caller.gid)
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            os.fchown(file.fileno(), caller.uid, caller.gid)
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise

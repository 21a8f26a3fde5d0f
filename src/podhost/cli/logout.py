"""``podhost logout``: forget the credentials of a registry."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from podhost.cli.auth_files import (
    auth_file_paths,
    find_credentials,
    holds_registry,
    normalize_registry,
    podman_auth_files,
    read_auth_files,
    run_skopeo,
)
from podhost.cli.failure import HintedError
from podhost.cli.session import Caller, calling_user
from podhost.cli.terminal import clean_text, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  podhost logout                           Docker Hub\n  podhost logout registry.example.com:5000\n"
    )
    parser.add_argument("registry", nargs="?", default="docker.io", help="HOST[:PORT] (default: docker.io)")


def run(args: argparse.Namespace) -> int:
    registry = normalize_registry(args.registry)
    caller = calling_user()
    found = [path for path in podman_auth_files(caller, os.environ) if holds_registry(path, registry)]
    for path in found:
        code, said = run_skopeo("logout", registry, path, caller)
        if code:
            raise HintedError(f"cannot log out of '{registry}': {clean_text(said)}")
        say(f"forgot {registry} in {path}", mark="✓", colour="green")
    rest = _find_others(registry, caller)
    for path in rest:
        say(f"credentials for {registry} remain in {path}: docker logout {registry}", mark="!", colour="yellow")
    if not found and not rest:
        raise HintedError(f"cannot log out of '{registry}': there are no credentials for it")
    return 0


def _find_others(registry: str, caller: Caller) -> list[Path]:
    """Files that still know the registry: Docker's own is not ours to change."""
    paths = auth_file_paths(caller, os.environ)
    return [path for path in paths if find_credentials(f"{registry}/any", read_auth_files((path,)))]

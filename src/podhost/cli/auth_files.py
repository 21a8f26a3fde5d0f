"""Registry credentials of the calling user: the files of docker and podman, read as those read them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from podhost.cli.session import Caller

DOCKER_HUB = "docker.io"
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


def auth_file_paths(caller: Caller, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """In the order in which they are asked."""
    named = environ.get("REGISTRY_AUTH_FILE")
    docker = Path(environ["DOCKER_CONFIG"]) if "DOCKER_CONFIG" in environ else caller.home / ".docker"
    paths = [Path(named)] if named else []
    paths += [
        caller.runtime_dir / "containers" / "auth.json",
        Path(f"/run/containers/{caller.uid}/auth.json"),
        caller.home / ".config" / "containers" / "auth.json",
        docker / "config.json",
    ]
    return tuple(paths)


def split_registry(ref: str) -> tuple[str, str]:
    """(registry, repository) of an image's name by Docker's rule for short names."""
    first, slash, rest = ref.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, repository = first, rest
    else:
        registry, repository = DOCKER_HUB, ref if slash else f"library/{ref}"
    repository = repository.partition("@")[0]
    head, _, tail = repository.rpartition("/")
    return (DOCKER_HUB if registry in _HUB_KEYS else registry), f"{head}/{tail.partition(':')[0]}".lstrip("/")


def find_credentials(ref: str, files: Sequence[Mapping[str, Any]], run_helper: Any = None) -> list[dict[str, str]]:
    """``auths`` of the pull request: what the first file that knows the registry says.

    ``run_helper(name, server)`` asks a credential helper and returns its answer or ``None``.
    """
    registry, repository = split_registry(ref)
    for document in files:
        entry = _most_specific(document.get("auths") or {}, registry, repository)
        found = _decode(entry) if entry else None
        if found is None and run_helper is not None:
            found = _ask_helpers(document, registry, run_helper)
        if found is not None:
            return [{"username": found[0], "password": found[1], "server_address": registry}]
    return []


def read_auth_files(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Those that exist and can be read; a broken one is as good as none."""
    documents = []
    for path in paths:
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(document, dict):
            documents.append(document)
    return documents


def credentials_for(ref: str, caller: Caller) -> list[dict[str, str]]:
    return find_credentials(ref, read_auth_files(auth_file_paths(caller, os.environ)), run_credential_helper)


def run_credential_helper(name: str, server: str) -> tuple[str, str] | None:
    """``docker-credential-NAME get``; ``None`` when there is no such program or no such credential."""
    import subprocess

    try:
        done = subprocess.run(
            [f"docker-credential-{name}", "get"], input=server.encode(), capture_output=True, check=True, timeout=30
        )
        answer = json.loads(done.stdout)
        return str(answer["Username"]), str(answer["Secret"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None


def _most_specific(auths: Mapping[str, Any], registry: str, repository: str) -> Mapping[str, Any] | None:
    names = _HUB_KEYS if registry == DOCKER_HUB else (registry, f"https://{registry}", f"http://{registry}")
    parts = repository.split("/")
    scoped = [f"{registry}/{'/'.join(parts[:count])}" for count in range(len(parts), 0, -1)]
    for key in (*scoped, *names):
        for known in (key, f"{key}/", f"{key}/v1/", f"{key}/v2/"):
            if isinstance(auths.get(known), dict):
                return dict(auths[known])
    return None


def _decode(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    if entry.get("auth"):
        try:
            user, colon, password = base64.b64decode(str(entry["auth"])).decode().partition(":")
        except ValueError:
            return None
        return (user, password) if colon else None
    if entry.get("username"):
        return str(entry["username"]), str(entry.get("password", ""))
    return None


def _ask_helpers(document: Mapping[str, Any], registry: str, run_helper: Any) -> tuple[str, str] | None:
    helpers = document.get("credHelpers") or {}
    servers = _HUB_KEYS[:1] if registry == DOCKER_HUB else (registry,)
    for server in (registry, *servers):
        name = helpers.get(server) or document.get("credsStore")
        if name:
            answer = run_helper(str(name), servers[0])
            if isinstance(answer, tuple):
                return answer
    return None

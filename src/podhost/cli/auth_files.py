"""Registry credentials of the calling user: the files of docker and podman, read as those read them.

skopeo writes them (``login``, ``logout``); it and credential helpers run as the calling user, also behind sudo: files
get the right owner, keyrings are found, and no link in a user's home leads root astray.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from podhost.cli.failure import HintedError
from podhost.cli.registry_mirrors import find_mirrors, read_documents
from podhost.cli.session import Caller
from podhost.cli.terminal import clean_text, say

Credentials = dict[str, str]
"""``username`` and ``password``, or ``identity_token``."""
RunHelper = Callable[[str, str], Credentials | None]
DOCKER_HUB = "docker.io"
_TOKEN_USER = "<token>"
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


def auth_file_paths(caller: Caller, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """In the order in which they are asked."""
    docker = Path(environ["DOCKER_CONFIG"]) if "DOCKER_CONFIG" in environ else caller.home / ".docker"
    return (*podman_auth_files(caller, environ), docker / "config.json")


def podman_auth_files(caller: Caller, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Those that podman and skopeo write; Docker's is read only."""
    named = environ.get("REGISTRY_AUTH_FILE")
    return (
        *([Path(named)] if named else []),
        caller.runtime_dir / "containers" / "auth.json",
        Path(f"/run/containers/{caller.uid}/auth.json"),
        caller.home / ".config" / "containers" / "auth.json",
    )


def choose_auth_file(registry: str, caller: Caller, environ: Mapping[str, str]) -> Path:
    """Where a login goes: the file that knows the registry, so that no older entry hides it; else the one at home.

    That one outlives a reboot, and root's is read for pods by a daemon that has no session.
    """
    paths = podman_auth_files(caller, environ)
    if environ.get("REGISTRY_AUTH_FILE"):
        return paths[0]
    return next((path for path in paths if holds_registry(path, registry)), paths[-1])


def holds_registry(path: Path, registry: str) -> bool:
    return any(registry in (document.get("auths") or {}) for document in read_auth_files((path,)))


def normalize_registry(text: str) -> str:
    """``https://index.docker.io/v1/`` is ``docker.io``; others lose scheme and slashes."""
    name = text.partition("://")[2] or text
    name = name.removesuffix("/").removesuffix("/v1").removesuffix("/v2").strip("/")
    return DOCKER_HUB if name in _HUB_KEYS or not name else name


def run_skopeo(
    verb: str, registry: str, auth_file: Path, caller: Caller, *flags: str, stdin: str = ""
) -> tuple[int, str]:
    """(exit code, stderr) of ``skopeo login`` or ``logout``.

    Raises:
        HintedError: skopeo is not installed.
    """
    import subprocess

    argv = ["skopeo", verb, "--authfile", str(auth_file), *flags, registry]
    try:
        done = subprocess.run(argv, input=stdin.encode(), capture_output=True, check=False, **_as_caller(caller))
    except FileNotFoundError as error:
        raise HintedError(f"cannot {verb}: skopeo is not installed", "podhost doctor") from error
    return done.returncode, done.stderr.decode(errors="replace")


def _as_caller(caller: Caller) -> dict[str, Any]:
    """For ``subprocess``: the calling user, with a home of that user's own."""
    runtime = {"XDG_RUNTIME_DIR": str(caller.runtime_dir)} if caller.runtime_dir.is_dir() else {}
    env = {**os.environ, "HOME": str(caller.home), **runtime}
    if os.geteuid() != 0 or caller.uid == 0:
        return {"env": env}
    return {"env": env, "user": caller.uid, "group": caller.gid, "extra_groups": [caller.gid], "cwd": "/"}


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


def find_credentials(
    ref: str, files: Sequence[Mapping[str, Any]], run_helper: RunHelper | None = None
) -> list[dict[str, str]]:
    """``auths`` of the pull request: what the first file that knows the registry says.

    ``run_helper(name, server)`` asks a credential helper and returns its answer or ``None``.  A helper for this very
    registry (``credHelpers``) goes before what is written, the general one (``credsStore``) after it.
    """
    registry, repository = split_registry(ref)
    for document in files:
        own = document.get("credHelpers") or {}
        found = _ask_helper(next((own[key] for key in _keys_of(registry) if own.get(key)), None), registry, run_helper)
        entry = _most_specific(document.get("auths") or {}, registry, repository) if found is None else None
        found = _decode(entry) if entry else found
        if found is None:
            found = _ask_helper(document.get("credsStore"), registry, run_helper)
        if found is not None:
            return [{**found, "server_address": registry}]
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
    """The caller's for the image's registry, and for its mirrors that this machine knows."""
    files = read_auth_files(auth_file_paths(caller, os.environ))
    places = [ref, *find_mirrors("/".join(split_registry(ref)), read_documents())]
    found = [
        entry
        for place in places
        for entry in find_credentials(place, files, lambda name, server: run_credential_helper(name, server, caller))
    ]
    return [entry for index, entry in enumerate(found) if entry not in found[:index]]


def run_credential_helper(name: str, server: str, caller: Caller) -> Credentials | None:
    """``docker-credential-NAME get``; ``None`` when it has none.  One that cannot be asked is told of."""
    import subprocess

    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, check=False, timeout=30, **_as_caller(caller)
        )
        if done.returncode:
            said = clean_text((done.stdout or done.stderr).decode(errors="replace"))
            if "credentials not found" not in said:
                say(f"{program} has no credentials for {server}: {said}", mark="!", colour="yellow")
            return None
        answer = json.loads(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
        # A helper says by this name that what it keeps is no password.
        return {"identity_token": secret} if user == _TOKEN_USER else {"username": user, "password": secret}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        say(f"cannot ask {program} for the credentials of {server}: {error}", mark="!", colour="yellow")
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


def _decode(entry: Mapping[str, Any]) -> Credentials | None:
    token = {"identity_token": str(entry["identitytoken"])} if entry.get("identitytoken") else {}
    if entry.get("auth"):
        try:
            user, colon, password = base64.b64decode(str(entry["auth"])).decode().partition(":")
        except ValueError:
            return None
        return {"username": user, "password": password.strip("\0"), **token} if colon else token or None
    if entry.get("username"):
        return {"username": str(entry["username"]), "password": str(entry.get("password", "")), **token}
    return token or None


def _keys_of(registry: str) -> tuple[str, ...]:
    return _HUB_KEYS if registry == DOCKER_HUB else (registry,)


def _ask_helper(name: Any, registry: str, run_helper: RunHelper | None) -> Credentials | None:
    return run_helper(str(name), _keys_of(registry)[0]) if name and run_helper is not None else None

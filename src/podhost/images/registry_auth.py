"""Credentials and registry names: whose credentials fit, and the auth file that skopeo reads.

Format: containers-auth.json(5).
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from podhost.cri.images import AuthConfig

_DOCKER_HUB = frozenset(("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"))


def registry_host(server_address: str) -> str:
    """``https://index.docker.io/v1/`` is ``docker.io``; others lose scheme and path."""
    host = server_address.partition("://")[2] or server_address
    host = host.partition("/")[0].lower()
    return "docker.io" if host in _DOCKER_HUB else host


def select_auths(auths: Iterable[AuthConfig], domain: str) -> list[AuthConfig]:
    """Those for this registry, in the given order; one without address fits any."""
    wanted = registry_host(domain)
    return [auth for auth in auths if not auth.server_address or registry_host(auth.server_address) == wanted]


def build_auth_file(auth: AuthConfig, domain: str, others: Mapping[str, Any] | None = None) -> bytes:
    """Content of an auth file with these credentials for their registry.

    ``others`` is a document of the same form: what it has for further registries, which may be mirrors, is kept.
    """
    host = registry_host(domain)
    kept = {
        section: {name: value for name, value in entries.items() if registry_host(name) != host}
        for section, entries in (others or {}).items()
    }
    return json.dumps({**kept, "auths": {**kept.get("auths", {}), host: _build_entry(auth)}}).encode()


def _build_entry(auth: AuthConfig) -> dict[str, str]:
    token = base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
    return {"auth": token} | ({"identitytoken": auth.identity_token} if auth.identity_token else {})


def build_other_auths(
    auths: Iterable[AuthConfig], domain: str, documents: Iterable[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Credentials for registries other than the one that is asked: those given with the pull, then those in files.

    ``documents`` are auth files in the order in which skopeo asks them; the first that knows a registry counts.
    """
    wanted = registry_host(domain)
    merged: dict[str, dict[str, Any]] = {"auths": {}, "credHelpers": {}}
    for auth in auths:
        host = registry_host(auth.server_address)
        if auth.server_address and host != wanted:
            merged["auths"].setdefault(host, _build_entry(auth))
    for document in documents:
        known = {*merged["auths"], *merged["credHelpers"]}
        for section, found in merged.items():
            entries = document.get(section)
            new = entries.items() if isinstance(entries, dict) else ()
            found.update({name: value for name, value in new if name not in known})
    return merged


def list_auth_files(environ: Mapping[str, str], home: Path, uid: int) -> tuple[Path, ...]:
    """Where skopeo looks for credentials that it is not told of, in its order."""
    if named := environ.get("REGISTRY_AUTH_FILE"):
        return (Path(named),)
    session = environ.get("XDG_RUNTIME_DIR")
    return (
        Path(session, "containers/auth.json") if session else Path(f"/run/containers/{uid}/auth.json"),
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json",
        Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json",
    )


def read_auth_documents(paths: Iterable[Path]) -> list[Mapping[str, Any]]:
    """Those that are there and are JSON objects; a broken one is as good as none.  Blocking."""
    documents: list[Mapping[str, Any]] = []
    for path in paths:
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(document, dict):
            documents.append(document)
    return documents


def is_loopback(domain: str) -> bool:
    """Whether a registry is on this machine; plain http is accepted there, as Docker does."""
    host = domain.rpartition(":")[0] if domain.rpartition(":")[2].isdigit() else domain
    host = host.strip("[]")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

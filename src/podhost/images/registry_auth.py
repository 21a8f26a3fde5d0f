"""Credentials and registry names, pure: whose credentials fit, and the auth file that skopeo reads.

Format: containers-auth.json(5).
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Iterable

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


def build_auth_file(auth: AuthConfig, domain: str) -> bytes:
    """Content of an auth file with these credentials alone."""
    token = base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
    return json.dumps({"auths": {registry_host(domain): {"auth": token}}}).encode()


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

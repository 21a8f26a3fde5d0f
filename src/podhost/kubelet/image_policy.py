"""Whether an image has to be pulled, with which credentials.  Pure.

One deliberate divergence from Kubernetes (docs/compat.md): a name that the user loaded or built on this host
wins over a pull, unless ``imagePullPolicy: Always`` was written by the user himself.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from podhost.api.image_refs import default_pull_policy, normalize
from podhost.cri.images import AuthConfig, Image, ImagePullError
from podhost.errors import InvalidError
from podhost.kubelet.go_format import format_duration, quote

POLICY_DEFAULTED_ANNOTATION = "podhost.dev/image-pull-policy-defaulted"
"""Set by the API server: names of containers (comma-separated) whose policy it filled in."""

_DOCKER_HUB = "docker.io"
_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io", "docker.io", "registry.hub.docker.com"})


@dataclass(frozen=True, slots=True)
class ImageDecision:
    """``use`` the present image, ``pull`` it, or ``fail`` with a waiting reason; ``message`` is an event's."""

    action: Literal["use", "pull", "fail"]
    message: str
    reason: str = ""


def compute_image_decision(
    image: str, policy: str | None, present: Image | None, *, policy_defaulted: bool
) -> ImageDecision:
    """What ``imagePullPolicy`` asks for.

    Args:
        image: As the user wrote it.
        policy: ``Always``, ``IfNotPresent``, ``Never``.
        present: The local image of that name.
        policy_defaulted: The policy was filled in by the API server, not written by the user.
    """
    if present is not None and policy == "Always" and policy_defaulted and _is_local(image, present):
        return ImageDecision(
            "use", f"Container image {quote(image)} was loaded on this host; it is used without a pull"
        )
    if policy == "Always" or (policy != "Never" and present is None):
        return ImageDecision("pull", f"Pulling image {quote(image)}")
    if present is not None:
        return ImageDecision(
            "use", f"Container image {quote(image)} already present on machine and can be accessed by the pod"
        )
    return ImageDecision(
        "fail",
        f"Container image {quote(image)} is not present with pull policy of Never",
        "ErrImageNeverPull",
    )


def _is_local(image: str, present: Image) -> bool:
    wanted = normalize_name(image)
    return any(wanted in (name, normalize_name(name)) for name in present.local_names)


def normalize_name(image: str) -> str:
    """Docker's full name of a reference; one that cannot be parsed stays as it is."""
    try:
        return str(normalize(image))
    except InvalidError:
        return image


def is_policy_defaulted(annotations: Mapping[str, str], container: str, image: str) -> bool:
    """Whether the user left ``imagePullPolicy`` out.

    The API server's own record says it; next best is what ``kubectl apply`` noted down; without either, a
    policy that equals the default of the image's tag counts as the default.
    """
    recorded = annotations.get(POLICY_DEFAULTED_ANNOTATION)
    if recorded is not None:
        return container in recorded.split(",")
    written = _read_last_applied(annotations, container)
    if written is not None:
        return not written.get("imagePullPolicy")
    return default_pull_policy(image) == "Always"


def _read_last_applied(annotations: Mapping[str, str], container: str) -> Mapping[str, Any] | None:
    try:
        spec = json.loads(annotations["kubectl.kubernetes.io/last-applied-configuration"])["spec"]
        entries = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
        found = next((entry for entry in entries if entry.get("name") == container), None)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    return found if isinstance(found, dict) else None


def format_pulled(image: str, seconds: float, size_bytes: int) -> str:
    """Text of the ``Pulled`` event after a pull."""
    took = format_duration(round(seconds, 3))
    return (
        f"Successfully pulled image {quote(image)} in {took} ({took} including waiting). "
        f"Image size: {size_bytes} bytes."
    )


def format_image_backoff(image: str, cause: str) -> str:
    """Message of ``ImagePullBackOff``."""
    return f"Back-off pulling image {quote(image)}: {cause}" if cause else f"Back-off pulling image {quote(image)}"


def explain_pull_error(image: str, error: Exception) -> tuple[str, str]:
    """Waiting reason and message of a failed pull, as the kubelet words them (``evalCRIPullErr``)."""
    reason = error.reason if isinstance(error, ImagePullError) else "ErrImagePull"
    lead = {
        "RegistryUnavailable": f"image pull failed for {image} because the registry is unavailable: ",
        "SignatureValidationFailed": f"image pull failed for {image} because the signature validation failed: ",
    }.get(reason, "")
    return reason, f"{lead}{error}"


def build_auths(image: str, secrets: Iterable[Mapping[str, Any]]) -> tuple[AuthConfig, ...]:
    """Credentials for the image's registry, most specific first; broken secrets are passed over."""
    wanted = normalize_name(image).partition("@")[0]
    host = wanted.partition("/")[0]
    matches: list[tuple[int, AuthConfig]] = []
    for secret in secrets:
        for server, entry in _read_docker_config(secret).items():
            prefix = _normalize_server(server)
            if _covers(prefix, wanted) and (auth := _read_entry(host, entry)) is not None:
                matches.append((len(prefix), auth))
    matches.sort(key=lambda m: -m[0])
    return tuple(auth for _, auth in matches)


def _read_docker_config(secret: Mapping[str, Any]) -> Mapping[str, Any]:
    data = secret.get("data") or {}
    try:
        if ".dockerconfigjson" in data:
            document = json.loads(base64.b64decode(data[".dockerconfigjson"]))
            auths = document.get("auths") if isinstance(document, dict) else None
        elif ".dockercfg" in data:
            auths = json.loads(base64.b64decode(data[".dockercfg"]))
        else:
            return {}
    except (ValueError, binascii.Error):
        return {}
    return auths if isinstance(auths, dict) else {}


def _normalize_server(server: str) -> str:
    """``https://index.docker.io/v1/`` -> ``docker.io``; keeps a path, which may narrow the scope."""
    server = server.partition("://")[2] or server
    host, _, path = server.strip("/").partition("/")
    path = "" if path in ("v1", "v2") else path
    host = _DOCKER_HUB if host in _HUB_ALIASES else host
    return f"{host}/{path}" if path else host


def _covers(prefix: str, image: str) -> bool:
    """As the kubelet's keyring (pkg/credentialprovider): stars within a label of the host, the path is a beginning."""
    host, _, path = prefix.partition("/")
    image_host, _, image_path = image.partition("/")
    name, _, port = host.partition(":")
    image_name, _, image_port = image_host.partition(":")
    patterns, labels = name.split("."), image_name.split(".")
    if port != image_port or len(patterns) != len(labels):
        return False
    return all(map(fnmatchcase, labels, patterns)) and image_path.startswith(path)


def _read_entry(host: str, entry: object) -> AuthConfig | None:
    """Credentials that are for ``host``, whatever pattern they stood under."""
    if not isinstance(entry, dict):
        return None
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if not username and entry.get("auth"):
        try:
            username, _, password = base64.b64decode(str(entry["auth"])).decode().partition(":")
        except (ValueError, binascii.Error):
            return None
    if not username and not password:
        return None
    return AuthConfig(username=username, password=password.rstrip("\0"), server_address=host)

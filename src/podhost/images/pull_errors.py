"""From what skopeo says to what a kubelet with containerd would say; pure."""

from __future__ import annotations

import re
from typing import Literal

from podhost.cri.images import ImagePullError

Reason = Literal["ErrImagePull", "InvalidImageName", "SignatureValidationFailed"]

_LOGRUS_LINE = re.compile(r'level=(?P<level>\w+) msg="(?P<text>(?:[^"\\]|\\.)*)"')
_NOT_FOUND = ("manifest unknown", "name unknown", "not found: manifest", "repository name not known")
_DENIED = ("unauthorized", "authentication required", "denied", "403 (forbidden)", "invalid username/password")
_UNAVAILABLE = (
    "connection refused", "no such host", "i/o timeout", "connection reset", "network is unreachable",
    "no route to host", "tls handshake timeout", "server misbehaving", "503 (service unavailable)",
    "502 (bad gateway)", "500 internal server error", "504 (gateway", "context deadline exceeded",
    "received unexpected http status: 5", "temporary failure in name resolution",
)  # fmt: skip
_SIGNATURE = ("source image rejected", "signature was required", "invalid signature")
_PREFIXES = re.compile(
    r'^(?:initializing source \S+: |Error parsing image name "[^"]*": |'
    r"copying system image from manifest list: |determining manifest MIME type for \S+: )+"
)
_REQUEST = re.compile(r"^pinging container registry \S+: ")


def extract_message(stderr: str) -> str:
    """The last fatal line of skopeo's log, unquoted; or its last line."""
    fatal = [match for match in _LOGRUS_LINE.finditer(stderr) if match["level"] in ("fatal", "error")]
    if fatal:
        text = fatal[-1]["text"].replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
        return _PREFIXES.sub("", text).strip()
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else "skopeo failed without a message"


def is_auth_failure(message: str) -> bool:
    lowered = message.lower()
    return any(word in lowered for word in _DENIED)


def is_disk_full(message: str) -> bool:
    return "no space left on device" in message.lower()


def explain(ref: str, message: str) -> tuple[str, Reason]:
    """The cause in containerd's words, and the kubelet's reason."""
    lowered = message.lower()
    if is_disk_full(message):
        return message, "ErrImagePull"
    if any(word in lowered for word in _SIGNATURE):
        return message, "SignatureValidationFailed"
    if any(word in lowered for word in _NOT_FOUND):
        return f'failed to resolve reference "{ref}": {ref}: not found', "ErrImagePull"
    if is_auth_failure(message):
        return (
            f'failed to resolve reference "{ref}": pull access denied, repository does not exist or may '
            f"require authorization: {message}",
            "ErrImagePull",
        )
    if any(word in lowered for word in _UNAVAILABLE):
        request = _REQUEST.sub("failed to do request: ", message)
        return f'failed to resolve reference "{ref}": {request}', "ErrImagePull"
    return message, "ErrImagePull"


def build_pull_error(ref: str, message: str) -> ImagePullError:
    """The error of a pull that skopeo could not do."""
    cause, reason = explain(ref, message)
    return ImagePullError(f'failed to pull and unpack image "{ref}": {cause}', reason=reason)

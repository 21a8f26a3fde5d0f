"""Image references, by the rules of Docker (``github.com/distribution/reference``).

``nginx`` is ``docker.io/library/nginx:latest``; ``localhost/x`` and ``host:5000/x`` name a registry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from podhost.errors import InvalidError

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library"
_MAX_NAME = 255

_ALNUM = "[a-z0-9]+"
_COMPONENT = rf"{_ALNUM}(?:(?:\.|_|__|-+){_ALNUM})*"
_PATH_RE = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_DOMAIN_PART = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN_RE = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?", re.ASCII)
_TAG_RE = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_DIGEST_RE = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}", re.ASCII)
_IMAGE_ID_RE = re.compile("[a-f0-9]{64}", re.ASCII)
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A normalised reference.  ``tag`` is empty only when a digest was given without one."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """``docker.io/library/nginx``."""
        return f"{self.domain}/{self.path}"

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def with_digest(self, digest: str) -> ImageRef:
        """The same repository at a digest, without the tag."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        return self.repository + self._suffix()


@lru_cache(maxsize=1024)
def normalize(ref: str) -> ImageRef:
    """Parse and complete a reference.

    Raises:
        InvalidError: With Docker's explanation.
    """
    cause = find_fault(ref)
    if cause:
        raise InvalidError(f'cannot use the image reference "{ref}": {cause}')
    rest, _, digest = ref.partition("@")
    rest, tag = _split_tag(rest)
    domain, path = _split_domain(rest)
    return ImageRef(domain, path, tag or ("" if digest else DEFAULT_TAG), digest)


def is_valid(ref: str) -> bool:
    return find_fault(ref) == ""


def default_pull_policy(ref: str) -> str:
    """``Always`` for ``:latest`` and no tag, else ``IfNotPresent``."""
    try:
        parsed = normalize(ref)
    except InvalidError:
        return "IfNotPresent"
    return "Always" if parsed.tag == DEFAULT_TAG else "IfNotPresent"


def _split_tag(rest: str) -> tuple[str, str]:
    """The colon of a tag comes after the last slash."""
    head, _, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return (f"{head}/{name}" if head else name), tag


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, path = name.partition("/")
    is_domain = slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first)
    domain, path = (first, path) if is_domain else (DEFAULT_DOMAIN, name)
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"{_OFFICIAL}/{path}"
    return domain, path


def find_fault(ref: str) -> str:
    """Docker's words for what is wrong; empty when nothing is."""
    if not ref:
        return "repository name must have at least one component"
    if _IMAGE_ID_RE.fullmatch(ref):
        return f"invalid repository name ({ref}), cannot specify 64-byte hexadecimal strings"
    rest, at, digest = ref.partition("@")
    if at:
        algorithm, _, value = digest.partition(":")
        wanted = _DIGEST_LENGTHS.get(algorithm)
        if not _DIGEST_RE.fullmatch(digest):
            return "invalid reference format"
        if wanted is None:
            return "unsupported digest algorithm"
        if len(value) != wanted or value != value.lower():
            return "invalid checksum digest length" if len(value) != wanted else "invalid checksum digest format"
    name, tag = _split_tag(rest)
    if (tag or rest.endswith(":")) and not _TAG_RE.fullmatch(tag):
        return "invalid reference format"
    domain, path = _split_domain(name)
    if path.lower() != path and _PATH_RE.fullmatch(path.lower()):
        return "invalid reference format: repository name (" + path + ") must be lowercase"
    if not _PATH_RE.fullmatch(path) or not _DOMAIN_RE.fullmatch(domain):
        return "invalid reference format"
    if len(path) > _MAX_NAME:
        return f"repository name must not be more than {_MAX_NAME} characters"
    return ""

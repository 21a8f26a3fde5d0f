"""Which images a source of ``load`` holds, and under which names.  Reads archives; decides; copies nothing."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podhost.api import image_refs
from podhost.errors import InvalidError, NotFoundError

TRANSPORTS = (
    "containers-storage", "dir", "docker", "docker-archive", "docker-daemon", "oci", "oci-archive",
)  # fmt: skip
_REF_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"
_LIST_BYTES_MAX = 16 << 20
_COPY_BYTES = 1 << 20
_Open = Callable[..., gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]
_COMPRESSIONS: tuple[tuple[bytes, _Open], ...] = (
    (b"\x1f\x8b", gzip.GzipFile), (b"BZh", bz2.BZ2File), (b"\xfd7zXZ\0", lzma.LZMAFile),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image to copy: skopeo's name of it, and the normalised names that it gets."""

    source: str
    names: tuple[str, ...]


def find_images(source: str) -> list[SourceImage]:
    """All images of a source.  Blocking.

    Raises:
        NotFoundError: The file is not there.
        InvalidError: Not something that can be loaded.
    """
    transport, separator, rest = source.partition(":")
    if not separator or transport not in TRANSPORTS:
        return find_images(detect_transport(Path(source)))
    if transport == "docker-archive":
        return _find_docker_archive(rest)
    if transport in ("oci", "oci-archive"):
        return _find_oci(transport, rest)
    if transport == "docker":
        ref = image_refs.normalize(rest.removeprefix("//"))
        return [SourceImage(f"docker://{ref}", (str(ref),))]
    if transport == "dir":
        _require_path(Path(rest))
        return [SourceImage(source, ())]
    return [SourceImage(source, _names([_storage_reference(rest)]))]


def detect_transport(path: Path) -> str:
    """Put the right transport before a plain path.  Raises NotFoundError, InvalidError."""
    _require_path(path)
    if path.is_dir():
        if (path / "oci-layout").is_file():
            return f"oci:{path}"
        if (path / "manifest.json").is_file():
            return f"dir:{path}"
        raise InvalidError(f'cannot load "{path}": neither an OCI layout nor a "dir:" directory')
    members = _read_members(path, ("manifest.json", "index.json"))
    if "manifest.json" in members:
        return f"docker-archive:{path}"
    if "index.json" in members:
        return f"oci-archive:{path}"
    raise InvalidError(f'cannot load "{path}": neither a docker-archive nor an oci-archive')


def _require_path(path: Path) -> None:
    if not path.exists():
        raise NotFoundError(f'cannot load "{path}": no such file or directory')


def _split_path(rest: str) -> tuple[Path, str]:
    """``path[:reference]``; the path itself may hold colons when it exists as a whole."""
    if Path(rest).exists():
        return Path(rest), ""
    path, _, reference = rest.partition(":")
    _require_path(Path(path))
    return Path(path), reference


def _read_members(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """JSON members of a tar, compressed or not."""
    found: dict[str, Any] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if name not in names or not member.isfile() or member.size > _LIST_BYTES_MAX:
                    continue
                stream = archive.extractfile(member)
                if stream is not None:
                    found[name] = json.load(stream)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise InvalidError(f'cannot load "{path}": {error}') from error
    return found


def _find_docker_archive(rest: str) -> list[SourceImage]:
    path, reference = _split_path(rest)
    if reference:
        names = () if reference.startswith("@") else _names([reference])
        return [SourceImage(f"docker-archive:{path}:{reference}", names)]
    manifest = _read_members(path, ("manifest.json",)).get("manifest.json")
    if not isinstance(manifest, list) or not manifest:
        raise InvalidError(f'cannot load "{path}": no manifest.json in it')
    return [
        SourceImage(f"docker-archive:{path}:@{index}", _names(_object(path, item).get("RepoTags") or ()))
        for index, item in enumerate(manifest)
    ]


def find_compressed_archive(source: str) -> Path | None:
    """The file of a ``docker-archive:`` source when it is compressed.  Blocking."""
    transport, _, rest = source.partition(":")
    if transport != "docker-archive":
        return None
    path, _ = _split_path(rest)
    return path if _find_opener(path) else None


def decompress_archive(path: Path, target: Path) -> None:
    """Write the plain tar of ``path`` to ``target``.  Blocking.  Raises OSError, EOFError, ValueError."""
    opener = _find_opener(path)
    if opener is None:
        raise ValueError("not compressed in a known way")
    try:
        with opener(path) as source, target.open("xb") as plain:
            shutil.copyfileobj(source, plain, _COPY_BYTES)
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from error


def _find_opener(path: Path) -> _Open | None:
    with path.open("rb") as file:
        head = file.read(8)
    return next((opener for magic, opener in _COMPRESSIONS if head.startswith(magic)), None)


def _find_oci(transport: str, rest: str) -> list[SourceImage]:
    path, reference = _split_path(rest)
    if reference:
        return [SourceImage(f"{transport}:{path}:{reference}", _names(_qualified([reference])))]
    if transport == "oci":
        try:
            index = json.loads((path / "index.json").read_bytes())
        except (OSError, ValueError) as error:
            raise InvalidError(f'cannot load "{path}": {error}') from error
    else:
        index = _read_members(path, ("index.json",)).get("index.json") or {}
    return _oci_images(transport, path, _object(path, index).get("manifests") or [])


def _object(path: Path, value: Any) -> dict[str, Any]:
    """Raises InvalidError."""
    if not isinstance(value, dict):
        raise InvalidError(f'cannot load "{path}": {json.dumps(value)[:80]} is not a JSON object')
    return value


def _oci_images(transport: str, path: Path, manifests: Any) -> list[SourceImage]:
    if not isinstance(manifests, list) or not manifests:
        raise InvalidError(f'cannot load "{path}": no image in its index')
    images: dict[str, SourceImage] = {}
    for descriptor in manifests:
        annotations = _object(path, _object(path, descriptor).get("annotations") or {})
        reference = str(annotations.get(_REF_NAME) or "")
        if not reference and len(manifests) > 1:
            raise InvalidError(f'cannot load "{path}": it holds several images, and not all have names')
        names = _names(_qualified([str(annotations.get(_CONTAINERD_NAME) or ""), reference]))
        source = f"{transport}:{path}:{reference}" if reference else f"{transport}:{path}"
        images.setdefault(source, SourceImage(source, names))
    return list(images.values())


def _qualified(references: Sequence[str]) -> list[str]:
    """A bare word (``latest``) is a tag in an OCI layout, not an image's name.  The first name that fits is it."""
    return [item for item in references if "/" in item or ":" in item][:1]


def _storage_reference(rest: str) -> str:
    """``[driver@root]name`` without the store; docker-daemon's ``name:tag`` as it is; nothing for an id."""
    reference = rest.partition("]")[2] if rest.startswith("[") else rest
    return "" if reference.startswith(("@", "sha256:")) else reference.partition("@")[0]


def _names(references: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(image_refs.normalize(item)) for item in references if item)

"""Manifests, indexes and configurations, read; pure.

Specs: OCI image-spec 1.1 (manifest, index, config), Docker image manifest v2 schema 2.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from podhost.cri.ids import ChainId, Digest, ImageId
from podhost.cri.images import Image, ImageConfig
from podhost.errors import InvalidError

Compression = Literal["none", "gzip", "zstd"]

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1"

_DIGEST = re.compile(r"[a-z0-9]+([+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
"""The grammar of image-spec, descriptor.md."""

_LAYER_TYPES = frozenset(
    kind + suffix
    for kind, separator in (
        ("application/vnd.oci.image.layer.v1.tar", "+"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", "+"),
        ("application/vnd.docker.image.rootfs.diff.tar", "."),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar", "."),
    )
    for suffix in ("", f"{separator}gzip", f"{separator}zstd")
)

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: its blob as stored, and what it unpacks to."""

    digest: Digest
    size_bytes: int
    diff_id: Digest
    chain_id: ChainId


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """An image by content: everything but its names."""

    id: ImageId
    manifest_digest: Digest
    layers: tuple[Layer, ...]
    """Lowest first."""
    size_bytes: int
    created_at: str
    architecture: str
    os: str
    config: ImageConfig

    @property
    def blobs(self) -> frozenset[str]:
        """Digests of all blobs that belong to the image."""
        return frozenset((self.id, self.manifest_digest, *(layer.digest for layer in self.layers)))

    def build_image(self, names: Sequence[str], repo_digests: Sequence[str], local_names: Sequence[str]) -> Image:
        """The CRI view, with the names that the store knows."""
        return Image(
            id=self.id,
            repo_tags=tuple(names),
            repo_digests=tuple(repo_digests),
            size_bytes=self.size_bytes,
            created_at=self.created_at,
            architecture=self.architecture,
            os=self.os,
            config=self.config,
            local_names=tuple(local_names),
        )


def compute_digest(data: bytes) -> Digest:
    """``sha256:…`` of some bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def compute_chain_ids(diff_ids: Sequence[str]) -> list[ChainId]:
    """OCI chain ids, one a layer (image-spec, config.md, "Layer ChainID")."""
    chains: list[ChainId] = []
    for diff_id in diff_ids:
        chain = compute_digest(f"{chains[-1]} {diff_id}".encode()) if chains else diff_id
        chains.append(ChainId(chain))
    return chains


def parse_document(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object.  Raises InvalidError naming ``what``."""
    try:
        document = json.loads(data)
    except ValueError as error:
        raise InvalidError(f"cannot read {what}: {error}") from error
    if not isinstance(document, dict):
        raise InvalidError(f"cannot read {what}: not a JSON object")
    return document


def check_manifest_kind(data: bytes) -> dict[str, Any]:
    """The manifest or list of a registry, if it is of a kind that can be run.

    Raises:
        InvalidError: Docker schema 1, or anything that is no image.
    """
    document = parse_document(data, "the manifest")
    media_type = str(document.get("mediaType") or "")
    if document.get("schemaVersion") == 1 or media_type.startswith(_SCHEMA1):
        raise InvalidError(
            'media type "application/vnd.docker.distribution.manifest.v1+prettyjws" is no longer supported, '
            "please rebuild the image as a Docker schema 2 or OCI image"
        )
    kinds = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
    if media_type and media_type not in kinds:
        raise InvalidError(f"unsupported manifest media type {media_type!r}")
    if not isinstance(document.get("layers"), list) and not isinstance(document.get("manifests"), list):
        raise InvalidError("unsupported manifest: neither layers nor manifests in it")
    if isinstance(document.get("layers"), list):
        for layer in document["layers"]:
            check_layer_type(str(_object(layer, "the descriptor of a layer").get("mediaType", "")))
    return document


def check_layer_type(media_type: str) -> None:
    """Raises InvalidError for what is no file system layer."""
    if media_type not in _LAYER_TYPES:
        raise InvalidError(f"unsupported layer media type {media_type!r}")


def detect_compression(head: bytes) -> Compression:
    """By the first bytes of a blob.

    Not by its media type: skopeo calls every layer of a docker-archive gzip, and stores them as they are.
    """
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    return "zstd" if head.startswith(b"\x28\xb5\x2f\xfd") else "none"


def host_architecture(machine: str | None = None) -> str:
    """GOARCH of this machine."""
    machine = machine or platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def select_platform(index: Mapping[str, Any], architecture: str) -> str | None:
    """Digest of the list's entry for Linux on ``architecture``; ``None`` when there is none.

    Raises InvalidError.
    """
    for item in index.get("manifests", ()):
        entry = _object(item, "an entry of the index")
        wanted = _object(entry.get("platform"), "the platform of an entry of the index")
        if wanted.get("os", "linux") == "linux" and wanted.get("architecture", architecture) == architecture:
            return str(entry.get("digest"))
    return None


def layer_sizes(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of each distinct layer blob of a manifest."""
    return dict(_read_descriptor(layer, "a layer") for layer in manifest.get("layers", ()))


def read_config_digest(manifest: Mapping[str, Any]) -> Digest:
    """Of an image's configuration.  Raises InvalidError."""
    return _read_descriptor(manifest.get("config"), "the configuration")[0]


def build_record(manifest_digest: Digest, manifest_data: bytes, config_data: bytes) -> ImageRecord:
    """Put manifest and configuration together.

    Raises:
        InvalidError: They contradict each other, or are not those of a container image.
    """
    manifest = check_manifest_kind(manifest_data)
    config = parse_document(config_data, "the image configuration")
    descriptors = [_read_descriptor(item, "a layer") for item in manifest.get("layers") or ()]
    diff_ids = _strings(_object(config.get("rootfs"), "rootfs of the configuration").get("diff_ids"))
    if len(diff_ids) != len(descriptors):
        raise InvalidError(
            f"cannot use the image: {len(descriptors)} layers in the manifest, {len(diff_ids)} in the configuration"
        )
    layers = tuple(
        Layer(
            digest=digest,
            size_bytes=size_bytes,
            diff_id=Digest(diff_id),
            chain_id=chain_id,
        )
        for (digest, size_bytes), diff_id, chain_id in zip(
            descriptors, diff_ids, compute_chain_ids(diff_ids), strict=True
        )
    )
    return ImageRecord(
        id=ImageId(read_config_digest(manifest)),
        manifest_digest=manifest_digest,
        layers=layers,
        size_bytes=sum({layer.digest: layer.size_bytes for layer in layers}.values()) + len(config_data),
        created_at=str(config.get("created") or ""),
        architecture=str(config.get("architecture") or ""),
        os=str(config.get("os") or "linux"),
        config=_build_config(_object(config.get("config"), "config of the configuration")),
    )


def _object(value: object, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidError(f"cannot use the image: {what} is not a JSON object")
    return value


def _read_descriptor(value: object, what: str) -> tuple[Digest, int]:
    """Digest and size in bytes."""
    document = _object(value, f"the descriptor of {what}")
    digest, size = document.get("digest"), document.get("size", 0)
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or not isinstance(size, int):
        raise InvalidError(f"cannot use the image: the descriptor of {what} lacks a digest or a size")
    return Digest(digest), size


def _strings(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _keys(value: object) -> tuple[str, ...]:
    return tuple(sorted(str(key) for key in value)) if isinstance(value, dict) else ()


def _build_config(config: Mapping[str, Any]) -> ImageConfig:
    labels = _object(config.get("Labels"), "Labels of the configuration")
    return ImageConfig(
        user=str(config.get("User") or ""),
        env=_strings(config.get("Env")),
        entrypoint=_strings(config.get("Entrypoint")),
        cmd=_strings(config.get("Cmd")),
        working_dir=str(config.get("WorkingDir") or ""),
        stop_signal=str(config.get("StopSignal") or ""),
        exposed_ports=_keys(config.get("ExposedPorts")),
        volumes=_keys(config.get("Volumes")),
        labels={str(key): str(value) for key, value in labels.items()},
    )

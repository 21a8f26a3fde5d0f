"""Manifests and configurations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podhost.cri.ids import Digest
from podhost.errors import InvalidError
from podhost.images import records

_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_A, _B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def _manifest(count: int, **changes: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": records.OCI_MANIFEST,
        "config": {"digest": _A},
        "layers": [{"mediaType": _LAYER, "digest": _B, "size": 10}] * count,
    }
    return json.dumps({**document, **changes}).encode()


def _config(*diff_ids: str, **config: Any) -> bytes:
    document = {"architecture": "arm64", "rootfs": {"diff_ids": list(diff_ids)}, "config": config}
    return json.dumps(document).encode()


def test_chain_ids_follow_the_specification() -> None:
    first, second = map(str, records.compute_chain_ids([_A, _B]))
    assert first == _A
    assert second == records.compute_digest(f"{_A} {_B}".encode())


def test_same_layer_twice_counts_once_in_the_size_and_has_two_chain_ids() -> None:
    config = _config(_A, _A)
    record = records.build_record(Digest(_B), _manifest(2), config)
    assert record.size_bytes == 10 + len(config)
    assert len({layer.chain_id for layer in record.layers}) == 2
    assert record.blobs == {_A, _B}


def test_configuration_is_read_with_all_its_null_fields() -> None:
    config = _config(Env=None, Cmd=None, Labels=None, Volumes=None, Entrypoint="/bin/x", User=None)
    record = records.build_record(Digest(_B), _manifest(0), config)
    assert (record.architecture, record.os, record.layers) == ("arm64", "linux", ())
    assert record.config.entrypoint == ("/bin/x",)
    assert (record.config.user, record.config.env, record.config.labels) == ("", (), {})


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"<html>", "cannot read the manifest"),
        (b"[]", "not a JSON object"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "no longer supported"),
        (_manifest(0, mediaType="application/vnd.docker.distribution.manifest.v1+prettyjws"), "no longer supported"),
        (_manifest(0, mediaType="text/plain"), "unsupported manifest media type 'text/plain'"),
        (b'{"schemaVersion": 2}', "neither layers nor manifests"),
        (_manifest(0, layers=[{"mediaType": "text/plain"}]), "unsupported layer media type 'text/plain'"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(InvalidError, match=text):
        records.check_manifest_kind(data)


def test_manifest_and_configuration_must_agree() -> None:
    with pytest.raises(InvalidError, match="2 layers in the manifest, 1 in the configuration"):
        records.build_record(Digest(_B), _manifest(2), _config(_A))


@pytest.mark.parametrize(
    ("manifest", "config", "text"),
    [
        ({}, {"config": [1]}, "config of the configuration is not a JSON object"),
        ({}, {"config": {"Labels": ["a"]}}, "Labels of the configuration is not a JSON object"),
        ({}, {"rootfs": "none"}, "rootfs of the configuration is not a JSON object"),
        ({"layers": ["a"]}, {}, "the descriptor of a layer is not a JSON object"),
        ({"layers": [{"mediaType": _LAYER, "size": 1}]}, {}, "the descriptor of a layer lacks a digest or a size"),
        ({"layers": [{"mediaType": _LAYER, "digest": _B, "size": "1"}]}, {}, "lacks a digest or a size"),
        ({"config": {"digest": "sha256:../../etc/passwd"}}, {}, "the descriptor of the configuration lacks a digest"),
        ({"config": None}, {}, "the descriptor of the configuration lacks a digest"),
    ],
)
def test_documents_of_another_form_are_refused(manifest: dict[str, Any], config: dict[str, Any], text: str) -> None:
    document = {"rootfs": {"diff_ids": []}, **config}
    with pytest.raises(InvalidError, match=text):
        records.build_record(Digest(_B), _manifest(0, **manifest), json.dumps(document).encode())


def test_platform_is_chosen_by_architecture_and_system() -> None:
    index = {
        "manifests": [
            {"digest": "w", "platform": {"os": "windows", "architecture": "amd64"}},
            {"digest": "a", "platform": {"os": "linux", "architecture": "arm64"}},
            {"digest": "x", "platform": {"os": "linux", "architecture": "amd64"}},
        ]
    }
    assert records.select_platform(index, "amd64") == "x"
    assert records.select_platform(index, "riscv64") is None
    assert records.host_architecture("aarch64") == "arm64"


@pytest.mark.parametrize(
    ("head", "kind"), [(b"\x1f\x8b\x08\x00", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"etc/", "none"), (b"", "none")]
)
def test_compression_is_told_by_the_content(head: bytes, kind: str) -> None:
    assert records.detect_compression(head) == kind


@pytest.mark.parametrize("entries", [[[1]], [{"platform": [1]}]])
def test_an_index_of_another_form_is_refused(entries: list[Any]) -> None:
    with pytest.raises(InvalidError, match="is not a JSON object"):
        records.select_platform({"manifests": entries}, "amd64")

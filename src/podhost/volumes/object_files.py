"""configMap and secret: which files an API object becomes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from podhost.api import models
from podhost.cri.volumes import ObjectReader, VolumeError
from podhost.volumes.plan import Payload, ProjectedFile

CONFIG_MAP_PLUGIN = "kubernetes.io~configmap"
SECRET_PLUGIN = "kubernetes.io~secret"
DEFAULT_MODE = 0o644


def read_config_map_data(reader: ObjectReader, namespace: str, name: str, *, optional: bool) -> dict[str, bytes]:
    """Contents of a ConfigMap by key; nothing when it is optional and missing.

    Raises:
        VolumeError: It is missing, with the API's text.
    """
    document = reader.read("ConfigMap", namespace, name)
    if document is None:
        if optional:
            return {}
        raise VolumeError(f'configmap "{name}" not found')
    data = {key: value.encode() for key, value in _strings(document, "data")}
    data.update((key, _decode(key, value)) for key, value in _strings(document, "binaryData"))
    return data


def read_secret_data(reader: ObjectReader, namespace: str, name: str, *, optional: bool) -> dict[str, bytes]:
    """Contents of a Secret by key; nothing when it is optional and missing.

    Raises:
        VolumeError: It is missing, with the API's text.
    """
    document = reader.read("Secret", namespace, name)
    if document is None:
        if optional:
            return {}
        raise VolumeError(f'secret "{name}" not found')
    return {key: _decode(key, value) for key, value in _strings(document, "data")}


def _strings(document: Mapping[str, Any], section: str) -> list[tuple[str, str]]:
    values = document.get(section) or {}
    return [(key, value or "") for key, value in values.items()]


def _decode(key: str, value: str) -> bytes:
    try:
        return base64.b64decode(value)
    except binascii.Error as error:
        raise VolumeError(f"cannot decode key {key}: {error}") from error


def compute_payload(
    data: Mapping[str, bytes],
    items: Sequence[models.KeyToPath],
    *,
    missing_key_text: str,
    optional: bool,
    default_mode: int | None,
    default_user: int | None = None,
) -> Payload:
    """Files for an object's keys: all of them, or those that ``items`` picks.

    Raises:
        VolumeError: An item names a key that the object lacks; ``missing_key_text`` goes before the key.
    """
    mode = DEFAULT_MODE if default_mode is None else default_mode
    if not items:
        return {key: ProjectedFile(data=value, mode=mode, uid=default_user) for key, value in data.items()}
    payload = {}
    for item in items:
        value = data.get(item.key)
        if value is None:
            if optional:
                continue
            raise VolumeError(f"{missing_key_text}: {item.key}")
        payload[item.path] = ProjectedFile(
            data=value,
            mode=mode if item.mode is None else item.mode,
            uid=default_user if item.user is None else item.user,
        )
    return payload


def read_config_map_payload(
    reader: ObjectReader,
    namespace: str,
    source: models.ConfigMapVolumeSource | models.ConfigMapProjection,
    *,
    default_mode: int | None,
    default_user: int | None = None,
) -> Payload:
    """Files of a configMap volume, or of that part of a projected one.  Raises VolumeError."""
    optional = bool(source.optional)
    data = read_config_map_data(reader, namespace, source.name or "", optional=optional)
    return compute_payload(
        data,
        source.items,
        missing_key_text="configmap references non-existent config key",
        optional=optional,
        default_mode=default_mode,
        default_user=default_user,
    )


def read_secret_payload(
    reader: ObjectReader,
    namespace: str,
    name: str,
    source: models.SecretVolumeSource | models.SecretProjection,
    *,
    default_mode: int | None,
    default_user: int | None = None,
) -> Payload:
    """Files of a secret volume, or of that part of a projected one.  Raises VolumeError."""
    optional = bool(source.optional)
    data = read_secret_data(reader, namespace, name, optional=optional)
    return compute_payload(
        data,
        source.items,
        missing_key_text="references non-existent secret key",
        optional=optional,
        default_mode=default_mode,
        default_user=default_user,
    )

"""PATCH with ``application/apply-patch+yaml``: from the configuration in the body to the registry."""

from __future__ import annotations

from typing import Any

from podhost.api import errors
from podhost.api.apply import ApplyConflict, TypedError
from podhost.api.errors import ApiError
from podhost.apiserver import bodies, identity
from podhost.apiserver.call import Call
from podhost.apiserver.registry import Admit, Registry
from podhost.apiserver.write_options import FieldValidation, read_write_options

Obj = dict[str, Any]

APPLY_PATCH = "application/apply-patch+yaml"


async def apply_object(call: Call, registry: Registry, admit: Admit) -> tuple[Obj, bool]:
    """The object after the apply, and whether it is new.

    Raises:
        ApiError: The configuration is no such object (400), others manage its fields (409), or the write fails.
    """
    options = read_write_options(call, "PatchOptions", apply=True)
    config = await _read_config(call)
    await _check_duplicates(call, options.validation)

    def decode(document: Obj) -> Obj:
        obj = bodies.decode_object(call, document, call.kind, options.validation)
        identity.check_name(obj["metadata"], call.name)
        identity.check_namespace(call.kind, obj["metadata"], call.namespace)
        return obj

    try:
        return registry.apply(
            call.kind,
            call.namespace,
            call.name,
            config,
            options.writer,
            decode,
            admit=admit,
            force=options.force,
            dry_run=options.dry_run,
        )
    except ApplyConflict as conflict:
        raise errors.apply_conflict(str(conflict), conflict.pairs()) from conflict
    except TypedError as error:
        raise _untyped(call, config, error) from error


async def _read_config(call: Call) -> Obj:
    document = await bodies.parse_yaml(await bodies.read_body(call))
    if not isinstance(document, dict):
        raise errors.bad_request("error decoding YAML: the configuration is not an object")
    kind = call.kind
    metadata = document.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise errors.bad_request("metadata.managedFields must be nil")
    version = document.get("apiVersion") or ""
    if version != kind.group_version:
        raise errors.bad_request(
            "Incorrect version specified in apply patch. "
            f"Specified patch version: {version}, expected: {kind.group_version}"
        )
    bodies.check_kind(document, kind)
    return document


async def _check_duplicates(call: Call, validation: FieldValidation) -> None:
    duplicates = [] if validation == "Ignore" else await bodies.read_yaml_duplicates(call)
    if validation == "Warn":
        call.warnings.extend(duplicates)
    elif duplicates:
        listed = "".join(f"\n  {text}" for text in duplicates)
        raise errors.bad_request(
            f"error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:{listed}"
        )


def _untyped(call: Call, config: Obj, error: TypedError) -> ApiError:
    """Kubernetes' text; it answers with code 500 for what is the client's mistake."""
    kind = call.kind
    metadata = config.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    what = f"{metadata.get('namespace') or call.namespace}/{metadata.get('name') or ''}"
    gvk = f"{kind.group}/{kind.version}, Kind={kind.kind}"
    return ApiError(400, "", f"failed to create typed patch object ({what}; {gvk}): {error}")

"""Options of writes (``CreateOptions``, ``UpdateOptions``, ``PatchOptions``), validated as Kubernetes does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from podhost.api import errors
from podhost.api.apply import Writer
from podhost.api.field_errors import FieldError, Path
from podhost.apiserver.call import Call

FieldValidation = Literal["Ignore", "Warn", "Strict"]
OptionsKind = Literal["CreateOptions", "UpdateOptions", "PatchOptions"]

MAX_MANAGER_BYTES = 128
_VALIDATIONS = ("", "Ignore", "Strict", "Warn")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a request writes."""

    writer: Writer
    dry_run: bool = False
    validation: FieldValidation = "Warn"
    force: bool = False


def read_write_options(call: Call, kind: OptionsKind, *, apply: bool = False) -> WriteOptions:
    """Raises ApiError (422) with all that is wrong with them."""
    manager, validation = call.text("fieldManager"), call.text("fieldValidation")
    problems = [*_check_dry_run(call), *_check_manager(manager)]
    if apply and not manager:
        problems.append(Path("fieldManager").required("is required for apply patch"))
    force = call.optional_flag("force")
    if kind == "PatchOptions" and not apply and force is not None:
        problems.append(Path("force").forbidden("may not be specified for non-apply patch"))
    if validation not in _VALIDATIONS:
        problems.append(Path("fieldValidation").not_supported(validation, _VALIDATIONS))
    if problems:
        raise errors.invalid(kind, "meta.k8s.io", "", problems)
    writer = Writer(manager or manager_of_agent(call.request.headers.get("User-Agent", "")), call.route.subresource)
    return WriteOptions(writer, _is_dry_run(call), validation or "Warn", bool(force))  # type: ignore[arg-type]


def manager_of_agent(agent: str) -> str:
    """The program's name, as a ``User-Agent`` begins with it."""
    name = "".join(char for char in agent.partition("/")[0] if char.isprintable())
    return name.encode()[:MAX_MANAGER_BYTES].decode(errors="ignore")


def _is_dry_run(call: Call) -> bool:
    return any(call.request.query.getall("dryRun", []))


def _check_dry_run(call: Call) -> list[FieldError]:
    unknown = [value for value in call.request.query.getall("dryRun", []) if value not in ("", "All")]
    return [Path("dryRun").not_supported(unknown, ("All",))] if unknown else []


def _check_manager(manager: str) -> list[FieldError]:
    path = Path("fieldManager")
    problems = []
    if len(manager.encode()) > MAX_MANAGER_BYTES:
        problems.append(path.too_long(MAX_MANAGER_BYTES))
    for place, char in enumerate(manager):
        if not char.isprintable():
            problems.append(path.invalid(manager, f"invalid character U+{ord(char):04X} (at position {place})"))
    return problems

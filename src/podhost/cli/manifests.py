"""Manifests from files, directories, stdin and URLs, each object with the place that it came from.

The reader and the checks are imported where they are used: commands that read no manifest do without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from podhost.cli.failure import ToldError
from podhost.cli.manifest_sources import list_sources, read_source
from podhost.errors import InvalidError

if TYPE_CHECKING:
    from podhost.manifests.faults import Fault
    from podhost.manifests.yaml_nodes import Node

_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One object as its author wrote it."""

    document: dict[str, Any]
    source: str
    """``FILE:LINE`` where the document begins."""
    file: str = ""
    lines: Sequence[str] = field(default=(), repr=False)
    """The text of the file."""
    node: Node | None = field(default=None, repr=False)
    first_line: int = 0
    """Where the node's lines begin in the file, from 0."""

    @property
    def api_version(self) -> str:
        return str(self.document.get("apiVersion", ""))

    @property
    def kind(self) -> str:
        return str(self.document.get("kind", ""))

    @property
    def name(self) -> str:
        return str((self.document.get("metadata") or {}).get("name") or "")

    @property
    def namespace(self) -> str:
        return str((self.document.get("metadata") or {}).get("namespace") or "")


class FaultyManifestError(InvalidError, ToldError):
    """Manifests with faults, each with its lines shown."""

    def __init__(
        self,
        texts: Sequence[tuple[str, Sequence[str], Sequence[Fault]]],
        *,
        summary: str = "",
        outcome: str = "nothing was changed",
    ) -> None:
        self.texts = [(name, lines, list(faults)) for name, lines, faults in texts if faults]
        self.outcome = outcome
        """What has become of the command."""
        self.hints: list[str] = []
        name, _, faults = self.texts[0]
        first = faults[0]
        super().__init__(summary or f"cannot use {name}:{first.line}:{first.column}: {first.message}")

    def tell(self, *, colour: bool) -> str:
        from podhost.cli.terminal import choose_size, paint
        from podhost.manifests.render import render_fault

        shown: list[str] = []
        count = 0
        width = choose_size(pipe_width=160).columns
        for name, lines, faults in self.texts:
            for fault in faults:
                count += 1
                if count <= _SHOWN_MAX:
                    in_colour = lambda text, hue: paint(text, hue, enabled=colour)  # noqa: E731
                    text = render_fault(name, fault, lines, in_colour, width=width)
                    shown.append(text + "\n")
        if count > _SHOWN_MAX:
            shown.append(f"… and {count - _SHOWN_MAX} more\n")
        shown.append(self._hint())
        return "\n".join(shown).rstrip("\n")

    def _hint(self) -> str:
        from podhost.cli.hints import complete_hint
        from podhost.manifests.faults import quantify

        all_faults = [fault for _, _, faults in self.texts for fault in faults]
        mendable = [name for name, _, faults in self.texts if any(fault.mendable for fault in faults)]
        text = f"podhost: {quantify(len(all_faults), 'fault')}; {self.outcome}"
        if mendable and all(name != "stdin" for name in mendable):
            count = sum(fault.mendable for fault in all_faults)
            every = "it" if count == 1 else "all of them"
            which = every if count == len(all_faults) else quantify(count, "fault")
            text += f"\n  → podhost fix {' '.join(mendable)} mends {which}"
        return "\n".join([text, *(f"  → {complete_hint(hint)}" for hint in self.hints)])


def load_manifests(names: Sequence[str], *, check: bool = False, namespace: str = "") -> list[Manifest]:
    """All objects of files, directories (their YAML and JSON files, in order), URLs and ``-`` (stdin).

    ``check``: fields, types and values too, not only what keeps a manifest from being read.

    Raises:
        NotFoundError: A file does not exist.
        FaultyManifestError: With the faults of all files.
        InvalidError: There is nothing in them.
    """
    manifests: list[Manifest] = []
    faulty = []
    for name in names:
        for source in list_sources(name):
            shown, text = read_source(source)
            found, faults, lines = _parse(text, shown, check=check, namespace=namespace)
            manifests += found
            faulty.append((shown, lines, faults))
    if any(faults for _, _, faults in faulty):
        raise FaultyManifestError(faulty)
    if not manifests:
        raise InvalidError(f"cannot find an object in {', '.join(names)}: the input is empty")
    return manifests


def parse_manifests(text: str, source: str) -> list[Manifest]:
    """All objects of a text; ``List`` objects are taken apart.  Raises FaultyManifestError."""
    manifests, faults, lines = _parse(text, source, check=False, namespace="")
    if faults:
        raise FaultyManifestError([(source, lines, faults)])
    return manifests


def _parse(text: str, name: str, *, check: bool, namespace: str) -> tuple[list[Manifest], list[Fault], Sequence[str]]:
    from podhost.manifests.report import check_text, locate_nameless

    report = check_text(text, namespace=namespace, with_warnings=False, on_podhost=check)
    fatal = (
        [fault for fault in report.faults if fault.severity == "error"]
        if check
        else [fault for fault in report.faults if fault.code in ("syntax", "layout", "tab", "duplicate-key")]
    )
    known = {fault.line for fault in fatal}
    fatal += [fault for fault in locate_nameless(report.objects) if fault.line not in known]
    manifests = [
        Manifest(
            document=found.document,
            source=f"{name}:{found.line}",
            file=name,
            lines=report.lines,
            node=found.node,
            first_line=found.first_line,
        )
        for found in report.objects
    ]
    return manifests, fatal, report.lines


def explain_status(manifest: Manifest, status: Mapping[str, Any]) -> FaultyManifestError | None:
    """What an API server says about a manifest, at its lines; ``None`` when it names no place."""
    from podhost.manifests.report import locate_in_object

    if manifest.node is None:
        return None
    faults = locate_in_object(manifest.document, manifest.node, manifest.first_line, status)
    if not faults:
        return None
    outcome = f"the server refuses {manifest.kind.lower()}/{manifest.name}"
    summary = f"cannot apply {manifest.source} ({manifest.kind} '{manifest.name}'): {status.get('message')}"
    return FaultyManifestError([(manifest.file, manifest.lines, faults)], summary=summary, outcome=outcome)

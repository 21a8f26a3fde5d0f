"""docs/compat.md is honest: what it calls honoured is shown by a test that says so and can."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from harness.covered_fields import build_claim, compute_parents, read_claims
from podhost.api.schema import definition
from podhost.api.warnings import HONOURED


def test_every_honoured_field_is_covered_by_a_test() -> None:
    claimed = {claim.field for claim in read_claims()}
    honoured = {f"{structure}.{name}" for structure, names in HONOURED.items() for name in names}
    missing = sorted(honoured - claimed)
    assert not missing, f"honoured, and no test is marked with @covers of them: {', '.join(missing)}"
    unknown = sorted(claimed - honoured)
    assert not unknown, f"covered by a test, but not honoured: {', '.join(unknown)}"


@pytest.mark.parametrize(
    ("structure", "path"),
    [
        ("PodSecurityContext", "spec.securityContext"),
        ("SecurityContext", "spec.containers[].securityContext"),
        ("SecurityContext", "spec.ephemeralContainers[].securityContext"),
        ("ResourceRequirements", "spec.containers[].resources"),
        ("ResourceRequirements", "spec.resources"),
        ("Volume", "spec.volumes[]"),
    ],
)
def test_every_field_of_a_structure_has_a_line_of_its_own_or_below_one(structure: str, path: str) -> None:
    text = (Path(__file__).parents[2] / "docs/compat.md").read_text()
    treatments = dict(re.findall(r"^\| `([^`]+)` \| (\w+) \|", text, re.MULTILINE))
    waiting = [(f"io.k8s.api.core.v1.{structure}", path)]
    missing = []
    while waiting:
        name, at = waiting.pop()
        for key, field in definition(name).fields.items():
            below = f"{at}.{key}" + ("[]" if field.type.kind == "list" else "")
            if below not in treatments:
                missing.append(below)
            elif treatments[below] == "honoured" and field.type.element_ref:
                waiting.append((field.type.element_ref, below))
    assert missing == []


def test_marks_are_on_tests_that_use_the_fields_and_check_something() -> None:
    parents = compute_parents()
    faults = [(claim.test, claim.field, fault) for claim in read_claims() if (fault := claim.find_fault(parents))]
    assert not faults, "\n".join(f"{test} cannot cover {field}: {fault}" for test, field, fault in faults)


@pytest.mark.parametrize(
    ("body", "field", "fault"),
    [
        ("assert run({'workingDir': '/', 'containers': []})", "Container.workingDir", ""),
        ("assert run('containers: [{workingDir: /}]')", "Container.workingDir", ""),
        ("assert run(containers=[dict(workingDir='/')])", "Container.workingDir", ""),
        ("assert run('containers: []')", "Container.workingDir", "it never writes `workingDir`"),
        ("run('containers: [{workingDir: /}]')", "Container.workingDir", "it asserts nothing"),
        ("assert run('name')", "KeyToPath.mode", "it never writes `mode`"),
        ("assert run('mode')", "KeyToPath.mode", "it writes none of the fields that lead to a KeyToPath: items"),
        ("assert run('name')", "Nothing.name", "there is no structure Nothing in a pod"),
    ],
)
def test_an_empty_mention_is_found_out(body: str, field: str, fault: str) -> None:
    source = f"@covers({field!r})\ndef test_it():\n    {body}\n"
    claim = build_claim("t", field, ast.parse(source).body[0], {})
    assert claim.find_fault(compute_parents()) == fault

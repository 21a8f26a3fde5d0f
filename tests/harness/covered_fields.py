"""Reads which fields the tests say that they cover, and whether each of them can.

A mark is believed when the test, with the helpers and constants that it uses, writes the field's name and that of a
field which leads to its structure, and asserts something.  So an empty mention is found out: a mark on a test that
never sets the field, or that checks nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from podhost.api.schema import definition

TESTS = Path(__file__).parents[1]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_WORD = re.compile(r"\w+")
_ROOT = "io.k8s.api.core.v1.PodSpec"


@dataclass(frozen=True, slots=True)
class Claim:
    """One mark on one test."""

    test: str
    field: str
    words: frozenset[str]
    asserts: bool = False

    def find_fault(self, parents: dict[str, frozenset[str]]) -> str:
        """Why the mark is not to be believed; empty when it is."""
        structure, _, name = self.field.partition(".")
        if not self.asserts:
            return "it asserts nothing"
        if name not in self.words:
            return f"it never writes `{name}`"
        above = parents.get(structure)
        if above is None:
            return f"there is no structure {structure} in a pod"
        if above and not above & self.words:
            return f"it writes none of the fields that lead to a {structure}: {', '.join(sorted(above))}"
        return ""


def compute_parents() -> dict[str, frozenset[str]]:
    """Structure -> names of the fields that refer to it, of all structures in a pod's spec; none for the spec."""
    found: dict[str, set[str]] = {"PodSpec": set()}
    waiting, seen = [_ROOT], {_ROOT}
    while waiting:
        for name, each in definition(waiting.pop()).fields.items():
            ref = each.type.element_ref
            if not ref:
                continue
            found.setdefault(definition(ref).short_name, set()).add(name)
            if ref not in seen:
                seen.add(ref)
                waiting.append(ref)
    return {structure: frozenset(names) for structure, names in found.items()}


@cache
def read_claims() -> list[Claim]:
    """Every mark of every test."""
    return [claim for path in sorted(TESTS.rglob("test_*.py")) for claim in _claims_of(path)]


def _claims_of(path: Path) -> Iterator[Claim]:
    names = _definitions(path)
    for name, node in names.items():
        if not isinstance(node, _FUNCTIONS) or not name.startswith("test_"):
            continue
        fields = list(_marked(node))
        if fields:
            where = f"{path.relative_to(TESTS)}::{name}"
            yield from (build_claim(where, each, node, names) for each in fields)


def build_claim(test: str, field: str, node: ast.stmt, names: dict[str, ast.stmt]) -> Claim:
    """A mark, with what speaks for it."""
    facts = _collect(node, names)
    return Claim(test, field, frozenset().union(*(each.words for each in facts)), any(each.asserts for each in facts))


def _marked(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).rpartition(".")[2] == "covers":
            for argument in decorator.args:
                if isinstance(argument, ast.Constant):
                    yield str(argument.value)


@cache
def _definitions(path: Path) -> dict[str, ast.stmt]:
    """What a module defines or takes from the harness, by name."""
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {each.id: node for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness."):
            theirs = _definitions(TESTS / f"{(node.module or '').replace('.', '/')}.py")
            found |= {each.asname or each.name: theirs[each.name] for each in node.names if each.name in theirs}
    return found


@dataclass(frozen=True, slots=True)
class _Facts:
    """What one statement of a module is made of; what a mark says is no evidence."""

    names: frozenset[str]
    words: frozenset[str]
    asserts: bool


def _collect(test: ast.stmt, names: dict[str, ast.stmt]) -> list[_Facts]:
    """The test and all that it uses."""
    reached, waiting = [test], [test]
    while waiting:
        for name in _read_facts(waiting.pop()).names:
            used = names.get(name)
            if used is not None and used not in reached:
                reached.append(used)
                waiting.append(used)
    return [_read_facts(statement) for statement in reached]


@cache
def _read_facts(statement: ast.stmt) -> _Facts:
    """Words are those of all strings, and names of keyword arguments: manifests are text, dicts and keywords."""
    marks: set[ast.AST] = set()
    if isinstance(statement, _FUNCTIONS):
        marks = {n for d in statement.decorator_list if "covers" in ast.unparse(d) for n in ast.walk(d)}
    names: set[str] = set()
    words: set[str] = set()
    asserts = False
    for node in ast.walk(statement):
        if node in marks:
            continue
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.update(_WORD.findall(node.value))
        elif isinstance(node, ast.keyword) and node.arg:
            words.add(node.arg)
        asserts |= isinstance(node, ast.Assert) or (isinstance(node, ast.Attribute) and node.attr == "raises")
    return _Facts(frozenset(names), frozenset(words), asserts)

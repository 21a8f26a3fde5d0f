"""Keys that a YAML mapping has twice."""

from __future__ import annotations

from podhost.apiserver.yaml_duplicates import find_duplicate_keys


def test_each_repetition_is_told_with_its_line() -> None:
    text = b"a: 1\nb:\n  c: [1, {d: 1, e: 2, d: 3}]\n  c: 2\n  f: &x {g: a}\n  h: *x\na: 2\n"
    assert find_duplicate_keys(text) == [
        'line 3: key "d" already set in map',
        'line 4: key "c" already set in map',
        'line 7: key "a" already set in map',
    ]


def test_values_and_items_are_no_keys() -> None:
    assert find_duplicate_keys(b"a: a\nb: [a, a]\n? [k]\n: a\nc: b\n") == []


def test_what_is_no_yaml_is_for_its_parser_to_report() -> None:
    assert find_duplicate_keys(b"a: [") == []

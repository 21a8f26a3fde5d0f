"""Label and field selectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.api import selectors
from podhost.errors import InvalidError

_LABELS = {"app": "web", "tier": "front", "n": "5", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier!=back", True),
        ("app!=web", False),
        ("other!=x", True),
        ("app in (web, api)", True),
        ("app notin (web)", False),
        ("other notin (web)", True),
        ("app", True),
        ("!app", False),
        ("!other", True),
        ("n>4,n<6", True),
        ("n>5", False),
        ("app>1", False),
        ("empty=", True),
        ("empty in ()", True),
        ("app in (,web)", True),
        ("app.kubernetes.io/name=x", False),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    assert selectors.parse_label_selector(text).matches(_LABELS) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=b=c", "unable to parse requirement: found '=', expected: ',' or 'end of string'"),
        ("a,,b", "unable to parse requirement: found ',', expected: !, identifier, or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b', expected: '\\('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',', or identifier"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("-=b", 'unable to parse requirement: key: Invalid value: "-": name part must consist of'),
        ("a>x", "for 'Gt', 'Lt' operators, the value must be an integer"),
        ("a,", "unable to parse requirement: found '', expected: identifier after ','"),
    ],
)
def test_bad_label_selectors_are_explained(text: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        selectors.parse_label_selector(text)


@given(st.text("ab=!,()<> in", max_size=20))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    try:
        selectors.parse_label_selector(text).matches(_LABELS)
    except InvalidError:
        pass


def test_absent_and_empty_label_selectors_differ() -> None:
    assert not selectors.from_label_selector(None).matches({})
    assert selectors.from_label_selector({}).matches({})
    wanted = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}
    assert selectors.from_label_selector(wanted).matches(_LABELS)
    assert not selectors.from_label_selector(wanted).matches({"app": "web"})


def test_field_selectors() -> None:
    supported = ["metadata.name", "status.phase"]
    selector = selectors.parse_field_selector("metadata.name=a,status.phase!=Running", supported)
    assert selector.matches({"metadata.name": "a", "status.phase": "Pending"})
    assert not selector.matches({"metadata.name": "a", "status.phase": "Running"})
    assert selector.exact("metadata.name") == "a"
    assert selector.exact("status.phase") is None
    assert selectors.parse_field_selector(r"metadata.name=a\,b", supported).exact("metadata.name") == "a,b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spec.foo=x", "field label not supported: spec.foo"),
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
    ],
)
def test_bad_field_selectors_are_explained(text: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        selectors.parse_field_selector(text, ["metadata.name", "status.phase"])


def test_kinds_with_metadata_only_say_what_can_be_selected() -> None:
    with pytest.raises(InvalidError, match="is not a known field selector: only"):
        selectors.parse_field_selector("spec.foo=x", ["metadata.name", "metadata.namespace"])


def test_pods_are_selected_by_node_and_phase() -> None:
    pod = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "x"}, "status": {"phase": "Running"}}
    fields = selectors.pod_fields(pod)
    assert fields["spec.nodeName"] == "x"
    assert fields["status.phase"] == "Running"
    assert fields["metadata.namespace"] == "n"

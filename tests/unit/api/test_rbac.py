"""What rules allow and cover: a base case, and one change a row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.api.rbac import (
    Attributes,
    compute_aggregated_rules,
    find_uncovered,
    format_rule,
    rule_allows,
    subject_matches,
)
from podhost.api.rbac_defaults import build_default_cluster_role_bindings, build_default_cluster_roles

GET_POD = Attributes(verb="get", namespace="ns", resource="pods", name="p")
GET_LOG = Attributes(verb="get", namespace="ns", resource="pods", subresource="log", name="p")
GET_URL = Attributes(verb="get", path="/healthz/etcd")


def rule(verbs: str, resources: str = "pods", groups: tuple[str, ...] = ("",), names: str = "") -> dict[str, Any]:
    made = {"verbs": verbs.split(), "resources": resources.split(), "apiGroups": list(groups)}
    return made | ({"resourceNames": names.split()} if names else {})


def urls(verbs: str, *patterns: str) -> dict[str, Any]:
    return {"verbs": verbs.split(), "nonResourceURLs": list(patterns)}


@pytest.mark.parametrize(
    ("held", "wanted", "allowed"),
    [
        (rule("get"), GET_POD, True),
        (rule("list"), GET_POD, False),
        (rule("*"), GET_POD, True),
        (rule("get", groups=("apps",)), GET_POD, False),
        (rule("get", groups=("*",)), GET_POD, True),
        (rule("get", "*"), GET_POD, True),
        (rule("get", names="p q"), GET_POD, True),
        (rule("get", names="q"), GET_POD, False),
        (rule("get", "pods"), GET_LOG, False),
        (rule("get", "pods/log"), GET_LOG, True),
        (rule("get", "*/log"), GET_LOG, True),
        (rule("get", "*/log"), GET_POD, False),
        (rule("get", "*"), GET_LOG, True),
        (rule("*", "*", ("*",)), GET_URL, False),
        (urls("get", "/healthz/*"), GET_URL, True),
        (urls("get", "/healthz"), GET_URL, False),
        (urls("post", "*"), GET_URL, False),
        (urls("*", "*"), GET_URL, True),
        (urls("*", "*"), GET_POD, False),
    ],
)
def test_what_a_rule_allows(held: dict[str, Any], wanted: Attributes, allowed: bool) -> None:
    assert rule_allows(held, wanted) is allowed


@pytest.mark.parametrize(
    ("subject", "matches"),
    [
        ({"kind": "User", "name": "system:serviceaccount:ns:bot"}, True),
        ({"kind": "Group", "name": "devs"}, True),
        ({"kind": "Group", "name": "ops"}, False),
        ({"kind": "ServiceAccount", "name": "bot", "namespace": "ns"}, True),
        ({"kind": "ServiceAccount", "name": "bot", "namespace": "other"}, False),
        ({"kind": "ServiceAccount", "name": "bot"}, True),
        ({"kind": "Robot", "name": "bot"}, False),
    ],
)
def test_whom_a_subject_means(subject: dict[str, str], matches: bool) -> None:
    assert subject_matches(subject, "system:serviceaccount:ns:bot", {"devs"}, "ns") is matches


@pytest.mark.parametrize(
    ("held", "wanted", "missing"),
    [
        ([rule("get list")], [rule("get")], []),
        ([rule("get")], [rule("get list")], [rule("list")]),
        ([rule("get"), rule("list")], [rule("get list")], []),
        ([rule("*", "*", ("*",))], [rule("get", "pods/log")], []),
        ([rule("get", "*/log")], [rule("get", "pods/log")], []),
        ([rule("get", "pods")], [rule("get", "pods/log")], [rule("get", "pods/log")]),
        ([rule("get", names="a")], [rule("get", names="a b")], [rule("get", names="b")]),
        ([rule("get", names="a")], [rule("get")], [rule("get")]),
        ([rule("get")], [rule("get", names="a")], []),
        ([rule("get")], [rule("*")], [rule("*")]),
        ([urls("get", "/a/*")], [urls("get", "/a/b", "/c")], [urls("get", "/c")]),
    ],
)
def test_which_parts_are_not_covered(
    held: list[dict[str, Any]], wanted: list[dict[str, Any]], missing: list[dict[str, Any]]
) -> None:
    assert find_uncovered(held, wanted) == missing


_WORDS = st.sampled_from(["*", "a", "b"])
_RESOURCES = st.sampled_from(["*", "pods", "pods/log", "*/log"])
_RULES = st.builds(
    lambda verbs, resources, groups, names: {
        "verbs": verbs, "resources": resources, "apiGroups": groups, **({"resourceNames": names} if names else {})
    },
    st.lists(_WORDS, min_size=1, max_size=2),
    st.lists(_RESOURCES, min_size=1, max_size=2),
    st.lists(_WORDS, min_size=1, max_size=2),
    st.lists(st.sampled_from(["x", "y"]), max_size=2),
)  # fmt: skip


@given(st.lists(_RULES, max_size=3), st.lists(_RULES, max_size=3), st.sampled_from(["", "log"]), st.sampled_from("xyz"))
def test_whoever_covers_rules_may_do_all_that_they_allow(
    held: list[dict[str, Any]], wanted: list[dict[str, Any]], subresource: str, name: str
) -> None:
    if find_uncovered(held, wanted):
        return
    for verb in ("a", "b", "c"):
        for group in ("a", "b"):
            asked = Attributes(verb=verb, group=group, resource="pods", subresource=subresource, name=name)
            if any(rule_allows(each, asked) for each in wanted):
                assert any(rule_allows(each, asked) for each in held)


def test_aggregation_takes_rules_once_in_the_order_of_names_and_never_its_own() -> None:
    def role(name: str, *rules: dict[str, Any], label: str = "yes") -> dict[str, Any]:
        return {"metadata": {"name": name, "labels": {"in": label}}, "rules": list(rules)}

    whole = role("m", rule("stale")) | {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"in": "yes"}}]}}
    others = [role("z", rule("get"), rule("list")), role("a", rule("get")), role("b", rule("no"), label="no"), whole]
    assert compute_aggregated_rules(whole, others) == [rule("get"), rule("list")]
    assert compute_aggregated_rules(others[0], others) is None


def test_a_rule_is_printed_as_kubernetes_prints_it() -> None:
    assert format_rule(rule("get list", names="a")) == (
        '{APIGroups:[""], ResourceNames:["a"], Resources:["pods"], Verbs:["get" "list"]}'
    )


def test_default_roles_are_those_that_users_bind() -> None:
    roles = {role["metadata"]["name"]: role for role in build_default_cluster_roles()}
    assert {"admin", "cluster-admin", "edit", "view", "system:discovery", "system:basic-user"} <= set(roles)
    assert {binding["roleRef"]["name"] for binding in build_default_cluster_role_bindings()} <= set(roles)
    view = roles["system:aggregate-to-view"]["rules"]
    assert any(rule_allows(each, GET_LOG) for each in view)
    secrets = Attributes(verb="get", resource="secrets")
    assert not any(rule_allows(each, secrets) for each in view)
    assert any(rule_allows(each, secrets) for each in roles["system:aggregate-to-edit"]["rules"])

"""Which requests are audited, and how much of them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from podhost.api.rbac import Attributes
from podhost.apiserver.audit_policy import EVERYTHING, Decision, Level, parse_policy
from podhost.errors import InvalidError

SECRET = Attributes(verb="get", namespace="default", resource="secrets", name="s")
LOG = Attributes(verb="get", namespace="default", resource="pods", subresource="log", name="p")
NODES = Attributes(verb="list", resource="nodes")
LEASE = Attributes(verb="update", namespace="kube-system", group="coordination.k8s.io", resource="leases", name="l")
HEALTH = Attributes(verb="get", path="/healthz/ping")


def policy(*rules: dict[str, Any], **more: Any) -> str:
    return yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more})


@pytest.mark.parametrize(
    ("rule", "met"),
    [
        ({}, {SECRET, LOG, NODES, LEASE, HEALTH}),
        ({"users": ["ann"]}, {SECRET, LOG, NODES, LEASE, HEALTH}),
        ({"users": ["bob"]}, set()),
        ({"userGroups": ["devs", "ops"]}, {SECRET, LOG, NODES, LEASE, HEALTH}),
        ({"userGroups": ["ops"]}, set()),
        ({"verbs": ["list", "update"]}, {NODES, LEASE}),
        ({"namespaces": ["default"]}, {SECRET, LOG}),
        ({"namespaces": [""]}, {NODES}),
        ({"resources": [{"group": ""}]}, {SECRET, LOG, NODES}),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, set()),
        ({"resources": [{"group": "", "resources": ["pods/log"]}]}, {LOG}),
        ({"resources": [{"resources": ["pods/*"]}]}, {LOG}),
        ({"resources": [{"resources": ["*/log", "nodes"]}]}, {LOG, NODES}),
        ({"resources": [{"resources": ["*"]}]}, {SECRET, LOG, NODES}),
        ({"resources": [{"group": "coordination.k8s.io", "resources": ["leases"], "resourceNames": ["l"]}]}, {LEASE}),
        ({"resources": [{"group": "coordination.k8s.io", "resources": ["leases"], "resourceNames": ["m"]}]}, set()),
        ({"nonResourceURLs": ["/healthz*"]}, {HEALTH}),
        ({"nonResourceURLs": ["/healthz"]}, set()),
        ({"nonResourceURLs": ["*"]}, {HEALTH}),
    ],
)
def test_requests_that_a_rule_is_about(rule: dict[str, Any], met: set[Attributes]) -> None:
    rules = parse_policy(policy({"level": "Request", **rule}))
    for wanted in (SECRET, LOG, NODES, LEASE, HEALTH):
        level = rules.decide(wanted, "ann", {"devs", "all"}).level
        assert level is (Level.REQUEST if wanted in met else Level.NONE), wanted


def test_the_first_rule_that_is_met_decides_and_stages_add_up() -> None:
    rules = parse_policy(
        policy(
            {"level": "None", "users": ["ann"], "resources": [{"resources": ["secrets"]}]},
            {"level": "RequestResponse", "verbs": ["get"], "omitStages": ["ResponseStarted"]},
            {"level": "Metadata", "omitManagedFields": False},
            omitStages=["RequestReceived"],
            omitManagedFields=True,
        )
    )
    assert rules.decide(SECRET, "ann", ()).level is Level.NONE
    both = frozenset({"RequestReceived", "ResponseStarted"})
    assert rules.decide(SECRET, "bob", ()) == Decision(Level.RESPONSE, both, omits_managed_fields=True)
    assert rules.decide(NODES, "ann", ()) == Decision(Level.METADATA, frozenset({"RequestReceived"}))
    assert EVERYTHING.decide(HEALTH, "", ()) == Decision(Level.METADATA)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it is not an audit policy: "),
        ("a: b", "it is not an audit policy: Object contains unknown field `a`"),
        ("", "it is not an audit policy: Expected `object`, got `null`"),
        (policy({"level": "Metadata"}).replace("/v1", "/v1beta1"), "but Policy of audit.k8s.io/v1beta1"),
        (policy(), "loaded illegal policy with 0 rules"),
        (policy({"level": "All"}), 'rules[0].level: "All" is none of None, Metadata, Request, RequestResponse'),
        (policy({"level": "None", "omitStages": ["End"]}), 'rules[0].omitStages: "End" is none of RequestReceived'),
        (policy({"level": "None"}, omitStages=["End"]), 'omitStages: "End" is none of'),
        (policy({"level": "None", "verb": ["get"]}), "unknown field `verb`"),
        (
            policy({"level": "None", "namespaces": ["a"], "nonResourceURLs": ["/x"]}),
            "rules[0].nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs",
        ),
    ],
)
def test_what_is_no_policy_says_why(text: str, message: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(message)):
        parse_policy(text)

"""No field is dropped silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podhost.api import kinds, schema, warnings

MakePod = Callable[..., dict[str, Any]]


def test_every_field_of_a_pod_is_decided_about() -> None:
    assert warnings.undecided_fields() == []


def test_no_rule_names_a_field_that_is_not_there() -> None:
    fields: dict[str, set[str]] = {}
    for name in schema.definition_names():
        if name.startswith(("io.k8s.api.core.v1.", "io.k8s.apimachinery.pkg.apis.meta.v1.")):
            facts = schema.definition(name)
            fields[facts.short_name] = set(facts.fields)
    for table in (warnings.RULES, warnings.HONOURED):
        for structure, names in table.items():
            assert set(names) <= fields[structure], structure
    for structure, rules in warnings.RULES.items():
        assert not set(rules) & warnings.HONOURED.get(structure, frozenset()), structure


def test_a_plain_pod_is_not_warned_about(make_pod: MakePod) -> None:
    pod = make_pod(serviceAccountName="default", nodeName="n", priority=0, automountServiceAccountToken=False)
    kinds.POD.default(pod)
    assert kinds.POD.warnings(pod) == []


def test_fields_without_effect_are_named_with_their_path(make_pod: MakePod) -> None:
    pod = make_pod(affinity={"nodeAffinity": {}, "podAffinity": {}}, runtimeClassName="kata")
    pod["spec"]["containers"][0] |= {
        "livenessProbe": {"httpGet": {"port": 80, "protocol": "HTTP2"}},
        "lifecycle": {"preStop": {"tcpSocket": {"port": 80}}},
        "securityContext": {"windowsOptions": {"hostProcess": False}},
    }
    assert [warning.partition(";")[0] for warning in kinds.POD.warnings(pod)] == [
        "spec.containers[0].livenessProbe.httpGet.protocol: not honoured by podhost yet",
        "spec.containers[0].lifecycle.preStop.tcpSocket: not honoured by podhost",
        "spec.containers[0].securityContext.windowsOptions: not honoured by podhost",
        "spec.affinity.podAffinity: not honoured by podhost",
    ]


def test_kubernetes_own_warnings_are_given_too(make_pod: MakePod) -> None:
    pod = make_pod()
    for container in pod["spec"]["containers"]:
        container["ports"] = [{"containerPort": 80}]
    pod["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    assert kinds.POD.warnings(pod) == [
        'spec.containers[0].env[1]: hides previous definition of "A", which may be unexpected',
        "spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]",
    ]

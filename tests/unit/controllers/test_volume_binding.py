"""Which volume a claim gets, in a base case and one change a row; and why a pod waits for its claims."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from harness.covers import covers
from podhost.controllers import volume_binding
from podhost.controllers.claim_checks import Claim, Unbound, find_obstacle
from podhost.controllers.volume_binding import Bind, Provision, Wait, decide_claim, find_volume

Doc = dict[str, Any]


def claim(name: str = "data", **spec: Any) -> Doc:
    base = {"accessModes": ["ReadWriteOnce"], "storageClassName": "standard", "volumeMode": "Filesystem"}
    base["resources"] = {"requests": {"storage": "1Gi"}}  # type: ignore[assignment]
    meta = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "resourceVersion": "1"}
    return {"metadata": meta, "spec": {**base, **spec}, "status": {"phase": "Pending"}}


def volume(name: str = "pv", size: str = "2Gi", **spec: Any) -> Doc:
    base = {
        "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
        "storageClassName": "standard",
        "hostPath": {"path": "/x"},
    }
    return {
        "metadata": {"name": name, "labels": {"disk": "fast"}},
        "spec": {**base, "capacity": {"storage": size}, **spec},
    }


def storage_class(**more: Any) -> Doc:
    return {"metadata": {"name": "standard"}, "provisioner": volume_binding.PROVISIONER, **more}


REF = {"namespace": "ns", "name": "data"}
_FITS: list[tuple[Doc, Doc, bool]] = [
    ({}, {}, True),
    ({}, {"size": "1Gi"}, True),
    ({}, {"size": "1023Mi"}, False),
    ({"accessModes": ["ReadWriteMany"]}, {}, False),
    ({"accessModes": ["ReadOnlyMany", "ReadWriteOnce"]}, {}, True),
    ({"storageClassName": ""}, {}, False),
    ({"storageClassName": ""}, {"storageClassName": ""}, True),
    ({"volumeMode": "Block"}, {}, False),
    ({"selector": {"matchLabels": {"disk": "fast"}}}, {}, True),
    ({"selector": {"matchLabels": {"disk": "slow"}}}, {}, False),
    ({"selector": {"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["fast"]}]}}, {}, False),
    ({"selector": {"matchExpressions": [{"key": "tape", "operator": "DoesNotExist"}]}}, {}, True),
    ({}, {"claimRef": {"namespace": "ns", "name": "other"}}, False),
]


@pytest.mark.parametrize(("of_claim", "of_volume", "fits"), _FITS)
@covers(
    "LabelSelector.matchExpressions", "LabelSelector.matchLabels", "LabelSelectorRequirement.key",
    "LabelSelectorRequirement.operator", "LabelSelectorRequirement.values", "PersistentVolumeClaimSpec.selector",
    "PersistentVolumeClaimSpec.volumeMode",
)  # fmt: skip
def test_what_a_volume_must_have_for_a_claim(of_claim: Doc, of_volume: Doc, fits: bool) -> None:
    assert (find_volume(claim(**of_claim), [volume(**of_volume)]) is not None) == fits


def test_the_smallest_that_fits_is_taken() -> None:
    found = find_volume(claim(), [volume("a", "9Gi"), volume("b", "2Gi"), volume("c", "2Gi"), volume("d", "1Mi")])
    assert found is not None
    assert found["metadata"]["name"] == "b"


def test_a_volume_is_made_where_none_fits_and_the_class_is_ours() -> None:
    assert decide_claim(claim(), [], storage_class()) == Provision(storage_class())
    assert isinstance(decide_claim(claim(), [volume()], storage_class()), Bind)


@pytest.mark.parametrize(
    ("of_claim", "of_class", "reason", "words"),
    [
        ({"storageClassName": ""}, None, "FailedBinding", volume_binding.NO_CLASS),
        ({}, None, "ProvisioningFailed", 'storageclass.storage.k8s.io "standard" not found'),
        ({}, storage_class(volumeBindingMode="WaitForFirstConsumer"), "WaitForFirstConsumer", volume_binding.WAIT),
        ({}, storage_class(provisioner="ebs.csi.aws.com"), "ExternalProvisioning", "'ebs.csi.aws.com' or manually"),
        ({"volumeMode": "Block"}, storage_class(), "ProvisioningFailed", "volume mode Block is not supported"),
        (
            {"dataSource": {"kind": "PersistentVolumeClaim", "name": "other"}},
            storage_class(),
            "ProvisioningFailed",
            'plugin "podhost.dev/local" is not a CSI plugin. Only CSI plugin can provision a claim with a datasource',
        ),
        ({"volumeName": "gone"}, storage_class(), "FailedBinding", 'volume "gone" not found'),
        (
            {"selector": {"matchLabels": {"a": "b"}}},
            storage_class(),
            "ProvisioningFailed",
            'failed to provision volume with StorageClass "standard": claim.Spec.Selector is not supported',
        ),
        (
            {},
            storage_class(provisioner="kubernetes.io/no-provisioner"),
            "ProvisioningFailed",
            "no volume plugin matched name: kubernetes.io/no-provisioner",
        ),
    ],
)
def test_a_claim_that_waits_says_why(of_claim: Doc, of_class: Doc | None, reason: str, words: str) -> None:
    decision = decide_claim(claim(**of_claim), [], of_class)
    assert isinstance(decision, Wait)
    assert decision.reason == reason
    assert words in decision.message


@pytest.mark.parametrize(
    ("of_claim", "of_volume", "mismatch"),
    [
        ({}, {"size": "1Mi"}, "requested PV is too small"),
        ({"storageClassName": "fast"}, {}, "storageClassName does not match"),
        ({"volumeMode": "Block"}, {}, "incompatible volumeMode"),
        ({"accessModes": ["ReadWriteMany"]}, {}, "incompatible accessMode"),
        ({}, {}, None),
        ({"selector": {"matchLabels": {"disk": "slow"}}}, {}, None),
    ],
)
def test_a_volume_asked_for_by_name_must_have_what_the_claim_says(
    of_claim: Doc, of_volume: Doc, mismatch: str | None
) -> None:
    decision = decide_claim(claim(volumeName="pv", **of_claim), [volume(**of_volume)], storage_class())
    if mismatch is None:
        assert isinstance(decision, Bind)
    else:
        text = f'Cannot bind to requested volume "pv": {mismatch}'
        assert decision == Wait("Warning", "VolumeMismatch", text)


def test_a_reserved_volume_that_is_too_small_is_not_bound() -> None:
    reserved = volume("small", "1Mi", claimRef=REF)
    assert isinstance(decide_claim(claim(), [reserved], storage_class()), Provision)


def test_a_pod_does_not_come_to_a_volume_of_another_node() -> None:
    def at(name: str) -> dict[str, Claim]:
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}]}
        there = volume(nodeAffinity={"required": {"nodeSelectorTerms": [term]}})
        return {"data": Claim(known()["data"].document, None, there)}

    assert find_obstacle(pod("data"), at("n1"), [], NODE) is None
    assert find_obstacle(pod("data"), at("n2"), [], NODE) == "1 node(s) didn't match PersistentVolume's node affinity"


def test_a_delayed_claim_is_bound_once_its_pod_has_a_node_and_a_reserved_volume_at_once() -> None:
    late = storage_class(volumeBindingMode="WaitForFirstConsumer")
    waiting = claim()
    assert isinstance(decide_claim(waiting, [volume()], late), Wait)
    assert isinstance(decide_claim(waiting, [volume(claimRef=REF)], late), Bind), "somebody reserved it"
    waiting["metadata"]["annotations"] = {volume_binding.SELECTED_NODE: "n1"}
    assert decide_claim(waiting, [], late) == Provision(late)


def test_a_volume_of_another_claim_of_that_name_is_not_taken_by_force() -> None:
    taken = volume("pv", claimRef={**REF, "uid": "an older claim's"})
    decision = decide_claim(claim(volumeName="pv"), [taken], storage_class())
    assert isinstance(decision, Wait)
    assert "already bound to a different claim" in decision.message


@covers("PersistentVolumeClaimSpec.volumeName")
def test_both_ends_know_of_each_other_when_bound() -> None:
    before = volume()
    kept = copy.deepcopy(before)
    bound = volume_binding.with_claim(before, claim())
    both = volume_binding.with_volume(claim(), bound)
    assert before == kept
    assert bound["spec"]["claimRef"]["uid"] == "uid-data"
    assert bound["status"]["phase"] == "Bound"
    assert both["spec"]["volumeName"] == "pv"
    assert both["status"] == {
        "phase": "Bound",
        "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
        "capacity": {"storage": "2Gi"},
    }


def pod(*claims: str, **more: Any) -> Doc:
    volumes = [{"name": f"v{i}", "persistentVolumeClaim": {"claimName": name}} for i, name in enumerate(claims)]
    return {"metadata": {"name": "web", "namespace": "ns", "uid": "pod"}, "spec": {"volumes": volumes, **more}}


NODE = {"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}}}


def known(*, phase: str = "Bound", of: Doc | None = None, **spec: Any) -> dict[str, Claim]:
    document = claim(**spec)
    document["status"]["phase"] = phase
    return {"data": Claim(document, of)}


def test_a_pod_waits_for_its_claims_in_the_schedulers_words() -> None:
    late = storage_class(volumeBindingMode="WaitForFirstConsumer")
    assert find_obstacle(pod(), {}, [], NODE) is None
    assert find_obstacle(pod("data"), known(), [], NODE) is None
    assert find_obstacle(pod("nope"), {}, [], NODE) == 'persistentvolumeclaim "nope" not found'
    unbound = "pod has unbound immediate PersistentVolumeClaims"
    assert find_obstacle(pod("data"), known(phase="Pending", of=storage_class()), [], NODE) == unbound
    assert find_obstacle(pod("data"), known(phase="Pending", of=late), [], NODE) == Unbound(("data",))
    going = known()
    going["data"].document["metadata"]["deletionTimestamp"] = "now"
    assert find_obstacle(pod("data"), going, [], NODE) == 'persistentvolumeclaim "data" is being deleted'
    lost = known(phase="Lost", volumeName="pv")
    assert find_obstacle(pod("data"), lost, [], NODE) == (
        'persistentvolumeclaim "data" bound to non-existent persistentvolume "pv"'
    )


def test_one_pod_only_means_one() -> None:
    other = pod("data", nodeName="n")
    other["metadata"] = {**other["metadata"], "uid": "other"}
    single = known(accessModes=["ReadWriteOncePod"])
    assert find_obstacle(pod("data"), single, [], NODE) is None
    text = "1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    assert find_obstacle(pod("data"), single, [other], NODE) == text
    other["status"] = {"phase": "Succeeded"}
    assert find_obstacle(pod("data"), single, [other], NODE) is None

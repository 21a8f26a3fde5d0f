"""What volumes are to become: a base case and one change a row."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest

from podhost.api import models
from podhost.cri.volumes import VolumeError
from podhost.volumes.plan import (
    EmptyDirPlan,
    FilesPlan,
    HostPathPlan,
    ProjectedFile,
    VolumePlan,
    check_payload_path,
    compute_directory,
)
from podhost.volumes.planner import Planner, find_object_refs
from podhost.volumes.settings import VolumeSettings

SETTINGS = VolumeSettings(pods_dir=Path("/pods"), cpu_millis=2500, memory_bytes=8 << 30)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Objects:
    """The API objects of these tests."""

    documents: Mapping[tuple[str, str, str], Mapping[str, Any]] = {
        ("ConfigMap", "ns", "cm"): {"data": {"a": "A", "b": "B"}, "binaryData": {"c": b64("C")}},
        ("ConfigMap", "ns", "empty"): {"data": None},
        ("Secret", "ns", "s"): {"data": {"user": b64("me"), "pass": b64("word")}},
        ("Secret", "ns", "broken"): {"data": {"user": "a"}},
    }

    def read(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.documents.get((kind, namespace, name))


class Tokens:
    def issue_pod_token(self, pod: models.Pod, audience: str, expiration_s: int) -> str:
        return f"token of {pod.metadata.name} for {audience or 'the API'}, {expiration_s} s"


def build_pod(volume: Mapping[str, Any], *, limits: tuple[str | None, ...] = (None,), **spec: Any) -> models.Pod:
    containers = [
        {"name": f"c{index}", "resources": {"limits": {"memory": limit}} if limit else {}}
        for index, limit in enumerate(limits)
    ]
    document = {
        "metadata": {
            "name": "p",
            "namespace": "ns",
            "uid": "u-1",
            "labels": {"tier": "web", "app": 'a "quoted" one'},
            "annotations": {"note": "two\nlines"},
        },
        "spec": {"volumes": [{"name": "v", **volume}], "containers": containers, **spec},
    }
    return msgspec.convert(document, models.Pod)


def plan_of(volume: Mapping[str, Any], **more: Any) -> VolumePlan:
    return Planner(SETTINGS, Objects(), Tokens()).read_plan(build_pod(volume, **more), 0)


def files_of(volume: Mapping[str, Any], **more: Any) -> dict[str, tuple[str, int]]:
    plan = plan_of(volume, **more)
    assert isinstance(plan, FilesPlan)
    return {path: (file.data.decode(), file.mode) for path, file in plan.payload.items()}


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({}, EmptyDirPlan(name="v")),
        ({"emptyDir": {}}, EmptyDirPlan(name="v")),
        ({"emptyDir": {"sizeLimit": "1Mi"}}, EmptyDirPlan(name="v")),
        ({"emptyDir": {"mode": 0o700}}, EmptyDirPlan(name="v", mode=0o700)),
        (
            {"emptyDir": {"medium": "Memory"}},
            EmptyDirPlan(name="v", in_memory=True, size_bytes=8 << 30, mode=0o1777),
        ),
        (
            {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            EmptyDirPlan(name="v", in_memory=True, size_bytes=1 << 20, mode=0o1777),
        ),
        ({"hostPath": {"path": "/x"}}, HostPathPlan(name="v", path="/x")),
        (
            {"hostPath": {"path": "/x", "type": "FileOrCreate"}},
            HostPathPlan(name="v", path="/x", type="FileOrCreate"),
        ),
    ],
)
def test_plan_of_directories(volume: dict[str, Any], expected: VolumePlan) -> None:
    assert plan_of(volume) == expected


@pytest.mark.parametrize(
    ("limit", "pod_limits", "expected"),
    [
        (None, ("64Mi", "32Mi"), 96 << 20),
        (None, ("64Mi", None), 8 << 30),
        ("16Mi", ("64Mi", "32Mi"), 16 << 20),
        ("1Gi", ("64Mi", "32Mi"), 96 << 20),
        ("100Gi", (None,), 8 << 30),
        ("0", (None,), 8 << 30),
    ],
)
def test_memory_volume_gets_the_least_of_its_limit_the_pods_and_the_hosts(
    limit: str | None, pod_limits: tuple[str | None, ...], expected: int
) -> None:
    source = {"medium": "Memory"} | ({"sizeLimit": limit} if limit else {})
    plan = plan_of({"emptyDir": source}, limits=pod_limits)
    assert isinstance(plan, EmptyDirPlan)
    assert plan.size_bytes == expected


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ([("10Mi", None)], 64),
        ([("100Mi", None)], 100),
        ([("10Mi", "Always")], 74),
        ([("10Mi", "Always"), ("100Mi", None)], 110),
        ([(None, None)], 8 << 10),
    ],
)
def test_memory_limit_of_a_pod_counts_init_containers_as_the_scheduler_does(
    init: list[tuple[str | None, str | None]], expected: int
) -> None:
    containers = [
        {"name": f"i{index}", "resources": {"limits": {"memory": limit} if limit else {}}, "restartPolicy": policy}
        for index, (limit, policy) in enumerate(init)
    ]
    plan = plan_of({"emptyDir": {"medium": "Memory"}}, limits=("64Mi",), initContainers=containers)
    assert isinstance(plan, EmptyDirPlan)
    assert plan.size_bytes == expected << 20


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"name": "cm"}, {"a": ("A", 0o644), "b": ("B", 0o644), "c": ("C", 0o644)}),
        ({"name": "cm", "defaultMode": 0o400}, {"a": ("A", 0o400), "b": ("B", 0o400), "c": ("C", 0o400)}),
        ({"name": "cm", "items": [{"key": "a", "path": "x/y"}]}, {"x/y": ("A", 0o644)}),
        ({"name": "cm", "items": [{"key": "c", "path": "c", "mode": 0o755}]}, {"c": ("C", 0o755)}),
        ({"name": "cm", "items": [{"key": "no", "path": "x"}], "optional": True}, {}),
        ({"name": "missing", "optional": True}, {}),
        ({"name": "empty"}, {}),
    ],
)
def test_files_of_a_config_map(source: dict[str, Any], expected: dict[str, tuple[str, int]]) -> None:
    assert files_of({"configMap": source}) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"secretName": "s"}, {"user": ("me", 0o644), "pass": ("word", 0o644)}),
        ({"secretName": "s", "items": [{"key": "user", "path": "u"}], "defaultMode": 0}, {"u": ("me", 0)}),
        ({"secretName": "missing", "optional": True}, {}),
    ],
)
def test_files_of_a_secret(source: dict[str, Any], expected: dict[str, tuple[str, int]]) -> None:
    assert files_of({"secret": source}) == expected


def test_secrets_are_kept_in_memory_and_config_maps_on_disk() -> None:
    secret, config_map = plan_of({"secret": {"secretName": "s"}}), plan_of({"configMap": {"name": "cm"}})
    assert isinstance(secret, FilesPlan)
    assert isinstance(config_map, FilesPlan)
    assert (secret.in_memory, config_map.in_memory) == (True, False)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"fieldRef": {"fieldPath": "metadata.name"}}, "p"),
        ({"fieldRef": {"fieldPath": "metadata.namespace"}}, "ns"),
        ({"fieldRef": {"fieldPath": "metadata.uid"}}, "u-1"),
        ({"fieldRef": {"fieldPath": "metadata.labels"}}, 'app="a \\"quoted\\" one"\ntier="web"'),
        ({"fieldRef": {"fieldPath": "metadata.labels['tier']"}}, "web"),
        ({"fieldRef": {"fieldPath": "metadata.labels['absent']"}}, ""),
        ({"fieldRef": {"fieldPath": "metadata.annotations"}}, 'note="two\\nlines"'),
        ({"fieldRef": {"fieldPath": "metadata.annotations['note']"}}, "two\nlines"),
        ({"resourceFieldRef": {"containerName": "c0", "resource": "limits.memory"}}, str(64 << 20)),
        ({"resourceFieldRef": {"containerName": "c0", "resource": "limits.memory", "divisor": "1Gi"}}, "1"),
        ({"resourceFieldRef": {"containerName": "c0", "resource": "limits.cpu"}}, "3"),
        ({"resourceFieldRef": {"containerName": "c0", "resource": "limits.cpu", "divisor": "1m"}}, "2500"),
        ({"resourceFieldRef": {"containerName": "c0", "resource": "requests.cpu"}}, "0"),
    ],
)
def test_downward_api_shows_fields_of_the_pod(item: dict[str, Any], expected: str) -> None:
    volume = {"downwardAPI": {"items": [{"path": "f", **item}], "defaultMode": 0o440}}
    assert files_of(volume, limits=("64Mi",)) == {"f": (expected, 0o440)}


def test_projected_puts_all_sources_into_one_directory() -> None:
    sources = [
        {"configMap": {"name": "cm", "items": [{"key": "a", "path": "conf/a"}]}},
        {"secret": {"name": "s", "items": [{"key": "user", "path": "user", "mode": 0o400}]}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}},
    ]
    assert files_of({"projected": {"sources": sources, "defaultMode": 0o600}}) == {
        "conf/a": ("A", 0o600),
        "user": ("me", 0o400),
        "name": ("p", 0o600),
        "token": ("token of p for vault, 600 s", 0o600),
    }


@pytest.mark.parametrize(
    ("spec", "own", "mode", "uid"),
    [
        ({}, {}, 0o644, None),
        ({"securityContext": {"runAsUser": 7}}, {}, 0o600, 7),
        ({"securityContext": {"runAsUser": 0}}, {}, 0o600, 0),
        ({"securityContext": {"fsGroup": 7}}, {}, 0o600, None),
        ({"securityContext": {"runAsUser": 7}}, {"user": 8}, 0o600, 8),
        ({"securityContext": {"runAsUser": 7},
          "initContainers": [{"name": "i", "securityContext": {"runAsUser": 9}}]}, {}, 0o644, None),
        ({"initContainers": [{"name": "i", "securityContext": {"runAsUser": 9}}]}, {}, 0o644, None),
    ],
)  # fmt: skip
def test_a_token_is_for_the_one_user_of_the_pod(
    spec: dict[str, Any], own: dict[str, Any], mode: int, uid: int | None
) -> None:
    volume = {"projected": {"sources": [{"serviceAccountToken": {"path": "t", **own}}]}}
    plan = plan_of(volume, **spec)
    assert isinstance(plan, FilesPlan)
    assert (plan.payload["t"].mode, plan.payload["t"].uid) == (mode, uid)


@pytest.mark.parametrize(
    ("volume", "text"),
    [
        ({"configMap": {"name": "nope"}}, 'configmap "nope" not found'),
        ({"secret": {"secretName": "nope"}}, 'secret "nope" not found'),
        (
            {"configMap": {"name": "cm", "items": [{"key": "no", "path": "x"}]}},
            "configmap references non-existent config key: no",
        ),
        (
            {"secret": {"secretName": "s", "items": [{"key": "no", "path": "x"}]}},
            "references non-existent secret key: no",
        ),
        ({"secret": {"secretName": "broken"}}, "cannot decode key user: "),
        ({"emptyDir": {"medium": "Ram"}}, 'unknown storage medium "Ram"'),
        ({"emptyDir": {"medium": "HugePages-x"}}, 'unknown storage medium "HugePages-x"'),
        (
            {"emptyDir": {"medium": "HugePages"}},
            "medium HugePages: hugePages storage requested, but there is no resource request for huge pages",
        ),
        ({"hostPath": {"path": "/a/../b"}}, "invalid HostPath `/a/../b`: must not contain '..'"),
        ({"hostPath": {"path": "/a", "type": "Socks"}}, "Socks is an invalid volume type"),
        ({"nfs": {"server": "s", "path": "/"}}, "spec.volumes[0].nfs is not supported by podhost"),
        (
            {"projected": {"sources": [{"clusterTrustBundle": {"path": "x"}}]}},
            "projected.sources[0].clusterTrustBundle is not supported by podhost",
        ),
        (
            {"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "status.podIP"}}]}},
            "unsupported fieldPath: status.podIP",
        ),
        (
            {"downwardAPI": {"items": [{"path": "x", "resourceFieldRef": {"resource": "limits.cpu"}}]}},
            "container None not found",
        ),
    ],
)
def test_volumes_that_cannot_be_had_say_why(volume: dict[str, Any], text: str) -> None:
    with pytest.raises(VolumeError) as caught:
        plan_of(volume)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("medium", "requested", "expected"),
    [
        ("HugePages", ["2Mi"], 2 << 20),
        ("HugePages-1Gi", ["2Mi", "1Gi"], 1 << 30),
        ("HugePages", ["2Mi", "1Gi"], "medium: HugePages can't be used if container requests multiple huge page sizes"),
        ("HugePages-1Gi", ["2Mi"], "medium HugePages-1Gi: hugePages storage requested, but there is no resource"),
    ],
)
def test_huge_pages_of_a_volume_are_of_the_size_that_the_pod_requests(
    medium: str, requested: list[str], expected: int | str
) -> None:
    pod = build_pod({"emptyDir": {"medium": medium}}, limits=("1Gi",) * len(requested))
    containers = tuple(
        msgspec.structs.replace(
            each, resources=models.ResourceRequirements(requests={f"hugepages-{size}": "1Gi"})
        )
        for each, size in zip(pod.spec.containers, requested, strict=True)
    )  # fmt: skip
    pod = msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, containers=containers))
    planner = Planner(SETTINGS, Objects())
    if isinstance(expected, str):
        with pytest.raises(VolumeError, match=expected):
            planner.read_plan(pod, 0)
        return
    plan = planner.read_plan(pod, 0)
    assert isinstance(plan, EmptyDirPlan)
    assert (plan.page_bytes, plan.in_memory) == (expected, False)


def test_token_is_refused_without_an_issuer() -> None:
    pod = build_pod({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}})
    with pytest.raises(VolumeError, match="serviceAccountToken is not supported"):
        Planner(SETTINGS, Objects()).read_plan(pod, 0)


def test_fs_group_and_users_reach_the_plan() -> None:
    plan = plan_of(
        {"configMap": {"name": "cm", "defaultUser": 5, "items": [{"key": "a", "path": "a", "user": 7}]}},
        securityContext={"fsGroup": 99},
    )
    assert isinstance(plan, FilesPlan)
    assert plan.fs_group == 99
    assert plan.payload["a"] == ProjectedFile(data=b"A", mode=0o644, uid=7)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (EmptyDirPlan(name="v"), "volumes/kubernetes.io~empty-dir/v"),
        (
            FilesPlan(name="v", plugin="kubernetes.io~secret", in_memory=True, payload={}),
            "volumes/kubernetes.io~secret/v",
        ),
    ],
)
def test_directories_are_those_of_the_kubelet(plan: EmptyDirPlan | FilesPlan, expected: str) -> None:
    assert compute_directory(plan) == PurePosixPath(expected)


@pytest.mark.parametrize("path", ["", "/etc/x", "a/../../x", "..", "..data", "..x/y", "a/" + "n" * 256])
def test_payload_paths_out_of_the_volume_are_refused(path: str) -> None:
    with pytest.raises(VolumeError, match="invalid path"):
        check_payload_path(path)


@pytest.mark.parametrize("path", ["a", "a/b", "a/..b", ".hidden", "a..b"])
def test_ordinary_payload_paths_pass(path: str) -> None:
    check_payload_path(path)


def test_objects_that_volumes_show_are_found_also_in_projections() -> None:
    sources = [{"configMap": {"name": "x"}}, {"secret": {"name": "y"}}, {"downwardAPI": {}}]
    assert find_object_refs(build_pod({"projected": {"sources": sources}})) == {
        ("ConfigMap", "ns", "x"),
        ("Secret", "ns", "y"),
    }
    assert find_object_refs(build_pod({"secret": {"secretName": "s"}})) == {("Secret", "ns", "s")}
    assert find_object_refs(build_pod({"configMap": {"name": "cm"}})) == {("ConfigMap", "ns", "cm")}
    assert find_object_refs(build_pod({"emptyDir": {}})) == set()

"""Claims as volumes of a pod: what the plan says, and the group that owns all files."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.covers import covers
from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.cri.volumes import VolumeError
from podhost.volumes.claim import read_plan
from podhost.volumes.host_path import check_path
from podhost.volumes.local_volumes import LocalVolumes
from podhost.volumes.ownership import apply_fs_group_to_tree
from podhost.volumes.plan import ClaimPlan, HostPathPlan


class Reader:
    def __init__(self, claim: dict[str, Any] | None, volume: dict[str, Any] | None = None) -> None:
        self._found = {"PersistentVolumeClaim": claim, "PersistentVolume": volume}

    def read(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        del namespace, name
        return self._found[kind]


CLAIM: dict[str, Any] = {"metadata": {}, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}


def plan(reader: Reader, source: dict[str, Any], **spec: Any) -> ClaimPlan | HostPathPlan:
    pod = msgspec.convert(make_pod("web", volumes=[{"name": "v", **source}], **spec), models.Pod)
    return read_plan(reader, pod, pod.spec.volumes[0])


PVC = {"persistentVolumeClaim": {"claimName": "data", "readOnly": True}}


@covers("PersistentVolumeClaimVolumeSource.readOnly", "PodSecurityContext.fsGroupChangePolicy")
def test_the_directory_of_the_bound_volume_is_the_pods() -> None:
    context = {"fsGroup": 7, "fsGroupChangePolicy": "OnRootMismatch"}
    found = plan(Reader(CLAIM, {"spec": {"local": {"path": "/data"}}}), PVC, securityContext=context)
    assert found == ClaimPlan(name="v", path="/data", read_only=True, fs_group=7, on_root_mismatch=True)
    found = plan(Reader(CLAIM, {"spec": {"hostPath": {"path": "/data", "type": ""}}}), PVC)
    assert found == HostPathPlan(name="v", path="/data", read_only=True)


@pytest.mark.parametrize(
    ("claim", "volume", "words"),
    [
        (None, None, 'persistentvolumeclaims "data" not found'),
        ({**CLAIM, "status": {"phase": "Pending"}}, None, "PVC is not bound"),
        (CLAIM, None, 'persistentvolumes "pv" not found'),
        (
            CLAIM,
            {"spec": {"nfs": {"server": "s", "path": "/"}, "capacity": {}}},
            "spec.nfs of volume pv is not supported",
        ),
        (CLAIM, {"spec": {"local": {"path": "/x"}, "volumeMode": "Block"}}, "volume pv is of mode Block"),
    ],
)
def test_what_cannot_be_mounted_is_named(claim: Any, volume: Any, words: str) -> None:
    with pytest.raises(VolumeError, match="error processing PVC default/data") as caught:
        plan(Reader(claim, volume), PVC)
    assert words in str(caught.value)


def test_an_ephemeral_volume_takes_only_the_claim_that_its_pod_owns() -> None:
    source: dict[str, Any] = {"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}
    with pytest.raises(VolumeError, match='PVC "web-v" was not created for pod "web"'):
        plan(Reader(CLAIM, {"spec": {"local": {"path": "/x"}}}), source)


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="does not exist"):
        check_path(ClaimPlan(name="v", path=str(tmp_path / "gone")))


def test_the_group_is_given_to_all_files_and_no_symlink_is_followed(tmp_path: Path) -> None:
    group, outside, root = os.getgid(), tmp_path / "outside", tmp_path / "root"
    outside.write_text("")
    outside.chmod(0o600)
    (root / "deep").mkdir(parents=True, mode=0o700)
    (root / "deep/file").write_text("")
    (root / "deep/file").chmod(0o600)
    (root / "deep/link").symlink_to(outside)
    apply_fs_group_to_tree(root, group, on_root_mismatch=False)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (root, root / "deep", root / "deep/file")}
    assert modes["deep"] == 0o2770
    assert modes["file"] == 0o660
    assert stat.S_IMODE(outside.stat().st_mode) == 0o600
    (root / "deep/file").chmod(0o600)
    apply_fs_group_to_tree(root, group, on_root_mismatch=True)
    assert stat.S_IMODE((root / "deep/file").stat().st_mode) == 0o600, "the root has the group: nothing is walked"


def test_only_directories_of_the_provisioner_are_deleted(tmp_path: Path) -> None:
    local = LocalVolumes(tmp_path / "volumes")
    made = local.ensure("pvc-1")
    (made / "file").write_text("x")
    for path in (tmp_path, "/", tmp_path / "volumes", tmp_path / "volumes/..", tmp_path / "volumes/a/../../b"):
        with pytest.raises(ValueError, match="not a directory of the local provisioner"):
            local.remove(str(path))
    local.remove(str(made))
    local.remove(str(made))
    assert not made.exists()

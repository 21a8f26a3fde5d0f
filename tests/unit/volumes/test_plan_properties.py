"""Whatever a volume says, its plan stays below the pod's directory, and its files are written all or not at all."""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from podhost.api import models
from podhost.cri.volumes import VolumeError
from podhost.volumes.atomic_writer import write_payload
from podhost.volumes.plan import ClaimPlan, FilesPlan, HostPathPlan, Payload, ProjectedFile, compute_directory
from podhost.volumes.planner import Planner
from podhost.volumes.settings import VolumeSettings
from podhost.volumes.sub_path import check_sub_path

words = st.one_of(
    st.sampled_from(["", ".", "..", "...", "..data", "..data_tmp", "a", "b", "a b", "-", "~", "é", "x" * 256]),
    st.text(alphabet="./ab", max_size=5),
)
paths = st.lists(words, max_size=4).map("/".join)
keys = st.sampled_from(["a", "b", "missing"])
modes = st.one_of(st.none(), st.integers(0, 0o777))
names = st.sampled_from(["v", "a-b", "0"])


def fields(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


items: st.SearchStrategy[Any] = st.lists(st.builds(dict, key=keys, path=paths, mode=modes), max_size=4)
field_refs = st.sampled_from(
    ["metadata.name", "metadata.labels", "metadata.labels['a']", "metadata.annotations['../x']", "spec.nodeName", ""]
)
downward: st.SearchStrategy[Any] = st.lists(
    st.builds(dict, path=paths, fieldRef=st.builds(dict, fieldPath=field_refs)), max_size=3
)
objects = {"name": st.sampled_from(["cm", "none"]), "items": items, "optional": st.booleans()}
projections = st.one_of(
    fields(configMap=fields(**objects)),
    fields(secret=fields(**objects)),
    fields(downwardAPI=fields(items=downward)),
    fields(serviceAccountToken=st.builds(dict, path=paths, expirationSeconds=st.integers(0, 2**33))),
)
volumes = st.one_of(
    fields(
        emptyDir=fields(medium=st.sampled_from(["", "Memory", "Tape"]), sizeLimit=st.sampled_from(["0", "1Mi", "1m"]))
    ),
    fields(hostPath=st.builds(dict, path=paths, type=st.sampled_from(["", "File", "FileOrCreate", "Pipe"]))),
    fields(configMap=fields(**objects, defaultMode=modes)),
    fields(downwardAPI=fields(items=downward, defaultMode=modes)),
    fields(projected=fields(sources=st.lists(projections, max_size=4), defaultMode=modes)),
    fields(persistentVolumeClaim=st.builds(dict, claimName=st.sampled_from(["bound", "none"]))),
    fields(nfs=st.builds(dict, server=words, path=paths)),
)


class Objects:
    """What volumes refer to; a bound volume may lie anywhere."""

    place = "/srv/data"

    def read(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        del namespace
        found: dict[tuple[str, str], Mapping[str, Any]] = {
            ("ConfigMap", "cm"): {"data": {"a": "A", "b": "B"}},
            ("Secret", "cm"): {"data": {"a": "QQ==", "b": "Qg=="}},
            ("PersistentVolumeClaim", "bound"): {
                "metadata": {}, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}
            },
            ("PersistentVolume", "pv"): {"spec": {"local": {"path": self.place}}},
        }  # fmt: skip
        return found.get((kind, name))


class Tokens:
    def issue_pod_token(self, pod: models.Pod, audience: str, expiration_s: int) -> str:
        return f"{pod.metadata.name} {audience} {expiration_s}"


def read_plan(name: str, volume: Mapping[str, Any], propagation: str) -> Any:
    mount = {"name": name, "mountPath": "/v", "mountPropagation": propagation}
    document = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"a": "../.."}},
        "spec": {"volumes": [{"name": name, **volume}], "containers": [{"name": "c", "volumeMounts": [mount]}]},
    }
    settings = VolumeSettings(pods_dir=Path("/pods"), memory_bytes=1 << 30)
    return Planner(settings, Objects(), Tokens()).read_plan(msgspec.convert(document, models.Pod), 0)


@given(names, volumes, st.sampled_from(["None", "HostToContainer", "Bidirectional"]))
def test_a_volume_is_refused_or_has_one_directory_of_its_own(
    name: str, volume: dict[str, Any], propagation: str
) -> None:
    try:
        plan = read_plan(name, volume, propagation)
    except VolumeError:
        return
    directory = compute_directory(plan)
    assert directory.parts[0] == "volumes"
    assert directory.parts[1].startswith("kubernetes.io~")
    assert directory.parts[2:] == (name,)
    if isinstance(plan, HostPathPlan | ClaimPlan):
        assert plan.path in (Objects.place, volume.get("hostPath", {}).get("path"))
        assert ".." not in plan.path.split("/")
    assert plan.propagates == (propagation != "None")
    if isinstance(plan, FilesPlan):
        verify_writing(plan.payload)


payloads = st.dictionaries(
    paths, st.builds(ProjectedFile, data=st.binary(max_size=3), mode=st.integers(0o400, 0o777)), max_size=5
)


ONE = ProjectedFile(data=b"1", mode=0o644)


@given(payloads, payloads)
@example({"a/b": ONE, "c": ONE}, {"a/c": ONE})
@example({"a": ONE}, {"a/b": ONE, "a": ONE})
@example({"a": ONE}, {"../b": ONE})
def test_files_are_written_all_or_not_at_all(first: Payload, second: Payload) -> None:
    verify_writing(first, second)


def verify_writing(*payloads: Payload) -> None:
    """Write one after the other into one directory: each is shown as a whole, or the one before it still is."""
    with tempfile.TemporaryDirectory() as top:
        directory = Path(top) / "volume"
        directory.mkdir()
        shown: Payload = {}
        for payload in payloads:
            try:
                write_payload(directory, payload)
            except (VolumeError, OSError):
                pass
            else:
                shown = payload
                assert not write_payload(directory, payload), "nothing has changed"
            assert read_shown(directory) == {posixpath.normpath(path): file.data for path, file in shown.items()}
            assert os.listdir(top) == ["volume"]


def read_shown(directory: Path) -> dict[str, bytes]:
    """The files as a container finds them, each of which must lie in the volume."""
    found = {}
    for entry in directory.iterdir():
        if entry.name.startswith(".."):
            continue
        for path in (entry, *entry.rglob("*")) if entry.is_dir() else (entry,):
            assert path.resolve().is_relative_to(directory.resolve()), path
            if path.is_file():
                found[str(path.relative_to(directory))] = path.read_bytes()
    return found


@given(paths)
def test_a_sub_path_that_is_let_through_does_not_go_up(path: str) -> None:
    try:
        check_sub_path(path)
    except VolumeError:
        return
    assert posixpath.normpath(f"/volume/{path}").startswith("/volume")

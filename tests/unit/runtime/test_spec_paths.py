"""No input yields a spec with a path outside of what belongs to the container.

Pods are made of hostile words; those that the API lets through go the whole way to the runtime's spec, and each path
in there is looked at: those of the host are below places that were made for this pod, or are a ``hostPath`` as
written, and those in the container end at its root.
"""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.cri_fakes import FakeImages
from harness.kubelet_rig import make_pod
from podhost.api import kinds, models
from podhost.api.names import check_dns_label
from podhost.cri.ids import ContainerId, SandboxId
from podhost.cri.images import ImageConfig
from podhost.cri.runtime import DnsConfig, Mount, PodSandboxConfig
from podhost.kubelet.container_config import build_container_config
from podhost.kubelet.environment import ConfigError
from podhost.kubelet.pod_actions import ContainerStart
from podhost.kubelet.sandbox_config import build_sandbox_config
from podhost.kubelet.settings import KubeletSettings
from podhost.runtime.host_facts import HostFacts
from podhost.runtime.oci_spec import SpecInput, build_container_spec
from podhost.runtime.sandbox_run import build_sandbox_view
from podhost.runtime.settings import RuntimePaths
from podhost.runtime.users import ResolvedUser

SETTINGS = KubeletSettings(node_name="n1", log_dir=Path("/data/logs"), state_dir=Path("/data/kubelet"))
PATHS = RuntimePaths(Path("/data/runtime"), Path("/run/runtime"), "/podhost/default")
VOLUME = Path("/data/pods/volume")
HOST = HostFacts(
    capabilities=frozenset(), architecture="amd64", kernel=(6, 1), oom_score_adj=0, cgroup_version=2,
    controllers=frozenset(), can_limit_swap=False,
)  # fmt: skip
SANDBOX, CONTAINER = SandboxId("5" * 64), ContainerId("c" * 64)

words = st.one_of(
    st.sampled_from(
        ["", ".", "..", "/", "//", "/..", "../..", "a", "a/../../b", "/etc", "\n", "\0", "~", "%2e%2e", "a:b"]
    ),
    st.text(alphabet="./a\n\0:~ \\", max_size=12),
)
paths = st.lists(words, max_size=5).map("/".join)
labels = st.text(alphabet="abc019", min_size=1, max_size=8).map(lambda text: f"a{text}")
# Mostly as the API wants them, so that most pods get through to what is tested.
names = st.integers(0, 11).flatmap(lambda number: words if number == 0 else labels)


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    container = {
        "name": draw(names),
        "workingDir": draw(paths),
        "terminationMessagePath": draw(paths),
        "volumeMounts": [{"name": "v", "mountPath": path} for path in draw(st.lists(paths, min_size=1, max_size=3))],
        "securityContext": {"privileged": draw(st.booleans())},
    }
    spec: dict[str, Any] = {"volumes": [{"name": "v", "emptyDir": {}}]}
    for field in ("hostname", "subdomain", "hostnameOverride"):
        if draw(st.booleans()):
            spec[field] = draw(names)
    for field in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
        if draw(st.integers(0, 4)) == 0:
            spec[field] = True
    if draw(st.booleans()):
        spec["hostUsers"] = False
    pod = make_pod(draw(names), container, **spec)
    pod["metadata"]["namespace"] = draw(st.one_of(st.just("default"), names))
    pod["metadata"]["annotations"] = {"run.oci.handler": draw(words), "io.podman.x": draw(paths)}
    return pod


def build_spec(document: Mapping[str, Any]) -> tuple[dict[str, Any], PodSandboxConfig, Path]:
    """The runtime's spec and the sandbox's configuration of an accepted pod, and the log file."""
    pod = msgspec.convert(document, models.Pod)
    container = pod.spec.containers[0]
    sandbox = build_sandbox_config(
        pod, SETTINGS, attempt=0, host_dns=DnsConfig(),
        first_host_id=0 if pod.spec.host_users is not False else 65536,
    )  # fmt: skip
    mounts = tuple(Mount(container_path=m.mount_path, host_path=VOLUME) for m in container.volume_mounts)
    config = build_container_config(
        pod, container, ContainerStart(container.name, "app", 0, 0), settings=SETTINGS,
        image=FakeImages().add("nginx:1"), env=(), mounts=mounts,
    )  # fmt: skip
    given = SpecInput(
        config=config,
        image=ImageConfig(entrypoint=("run",)),
        user=ResolvedUser(0, 0, (0,), "/root"),
        rootfs=PATHS.bundle(CONTAINER).rootfs,
        cgroup_path=f"{PATHS.pod_cgroup(sandbox)}/{CONTAINER}",
        sandbox=build_sandbox_view(sandbox, PATHS.sandbox(SANDBOX)),
        host=HOST,
        capabilities=(),
    )
    return build_container_spec(given), sandbox, config.log_path


def find_escapes(spec: Mapping[str, Any], places: tuple[str, ...]) -> Iterator[str]:
    """What in a spec is a path outside of where it may be."""
    for mount in spec["mounts"]:
        place = mount["destination"]
        if not place.startswith("/") or posixpath.normpath(place) != place:
            yield f"destination {place!r}"
        if mount["type"] == "bind" and not _is_below(mount["source"], places):
            yield f"source {mount['source']!r}"
    if not _is_below(spec["root"]["path"], (str(PATHS.bundle(CONTAINER).root),)):
        yield f"root {spec['root']['path']!r}"
    if not _is_below(spec["linux"]["cgroupsPath"], (PATHS.cgroup_parent,)):
        yield f"cgroup {spec['linux']['cgroupsPath']!r}"
    for namespace in spec["linux"]["namespaces"]:
        if "path" in namespace and not _is_below(namespace["path"], (str(PATHS.sandbox(SANDBOX).root),)):
            yield f"namespace {namespace['path']!r}"
    yield from (f"annotation {key!r}" for key in spec["annotations"])
    yield from (word for word in ("hooks", "vm") if word in spec)


def _is_below(path: str, places: tuple[str, ...]) -> bool:
    """Strictly, and without a way up."""
    clean = posixpath.normpath(path)
    return clean == path and "\0" not in path and any(path.startswith(f"{place}/") for place in places)


def accept(pod: dict[str, Any]) -> bool:
    """Would the API server?"""
    kinds.POD.default(pod)
    metadata = [*kinds.POD.check_name(pod["metadata"]["name"]), *check_dns_label(pod["metadata"]["namespace"])]
    return not metadata and not kinds.POD.validate_create(pod)


PLACES = (str(PATHS.sandbox(SANDBOX).root), str(SETTINGS.state_dir), "/data/pods", "/dev", "/sys/fs")
"""Of the host: ``/dev/shm`` is a pod's with ``hostIPC``, ``/sys/fs/cgroup`` a privileged container's."""


@given(pods())
def test_no_pod_gets_a_path_that_is_not_its_own(pod: dict[str, Any]) -> None:
    assume(accept(pod))
    try:
        spec, sandbox, log = build_spec(pod)
    except ConfigError:
        return
    assert list(find_escapes(spec, PLACES)) == []
    assert "/" not in sandbox.hostname
    for place in (sandbox.log_directory, log):
        assert _is_below(str(place), (str(SETTINGS.log_dir),)), place


SAFE = make_pod(
    "web", {"name": "main", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}, volumes=[{"name": "v", "emptyDir": {}}]
)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("mounts", 0, "destination"), "/../etc"),
        (("mounts", 0, "destination"), "etc"),
        (("mounts", 0, "destination"), "/a//etc"),
        (("mounts", 0), {"destination": "/x", "type": "bind", "source": "/etc"}),
        (("mounts", 0), {"destination": "/x", "type": "bind", "source": "/data/pods/../../etc"}),
        (("root", "path"), "/"),
        (("linux", "cgroupsPath"), "/podhost/default/../../system.slice/x"),
        (("linux", "namespaces", 1), {"type": "network", "path": "/proc/1/ns/net"}),
        (("annotations",), {"run.oci.hooks.stdout": "x"}),
        (("hooks",), {}),
    ],
)
def test_what_the_property_looks_for_is_found(place: tuple[Any, ...], value: Any) -> None:
    spec = copy.deepcopy(build_spec(copy.deepcopy(SAFE))[0])
    assert list(find_escapes(spec, PLACES)) == []
    target = spec
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    assert len(list(find_escapes(spec, PLACES))) == 1

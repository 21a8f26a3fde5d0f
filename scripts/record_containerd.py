"""Record what containerd makes of containers: ``python scripts/record_containerd.py containerd.sock``.

Writes ``tests/unit/runtime/recorded/NAME.json``, one for each of ``shapes.json`` beside them: the runtime spec, without
what is of one run (ids, paths) and what is of the machine (devices).  Asks a containerd on a socket of its own with
the CRI plugin (``sandbox_image = "localhost/pause:1"``, any CNI configuration), as the kubelet would.  Containers are
made and never started; the sandbox is, so where CAP_SYS_RESOURCE is missing its runc must be one that leaves out
negative OOM scores.

Needs grpcio, catatonit, and ``api_pb2`` and ``api_pb2_grpc`` made from the api.proto of k8s.io/cri-api v1 on
PYTHONPATH; no package of podhost.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import api_pb2 as cri  # type: ignore[import-not-found]
import api_pb2_grpc as stubs  # type: ignore[import-not-found]
import grpc  # type: ignore[import-untyped,import-not-found]

RECORDED = Path(__file__).resolve().parents[1] / "tests/unit/runtime/recorded"
IMAGE = "localhost/pause:1"
KUBELET_MASKED = (
    *("/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi"),
    *("/sys/firmware", "/sys/devices/virtual/powercap"),
)
KUBELET_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def build_image() -> bytes:
    """``docker load`` archive with one static program."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        archive.add("/usr/bin/catatonit", "pause")
        for name, data in (("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"), ("etc/group", b"root:x:0:\n")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause", "-P"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    files = {
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer.getvalue(),
        "manifest.json": json.dumps([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]).encode(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def sandbox_config(name: str, shape: dict[str, Any]) -> Any:
    pod = shape.get("pod", {})
    options = cri.NamespaceOption(
        network=cri.NODE if pod.get("host_network") else cri.POD,
        pid=cri.NODE if pod.get("host_pid") else cri.POD if pod.get("share_process_namespace") else cri.CONTAINER,
        ipc=cri.NODE if pod.get("host_ipc") else cri.POD,
    )
    security = cri.LinuxSandboxSecurityContext(
        namespace_options=options,
        privileged=shape.get("security", {}).get("privileged", False),
        seccomp=cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault),
    )
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=name, uid=name, namespace="default"),
        hostname="" if pod.get("host_network") else "pod",
        log_directory="/tmp",
        linux=cri.LinuxPodSandboxConfig(cgroup_parent="/podhost-record", security_context=security),
    )


def container_config(shape: dict[str, Any], options: Any) -> Any:
    """As the kubelet asks: masks are its own words, and swap is as large as memory."""
    security = dict(shape.get("security", {}))
    unmasked = security.pop("unmasked_proc", False) or security.get("privileged", False)
    unconfined = security.pop("seccomp_profile", "") == "Unconfined" or security.get("privileged", False)
    capabilities = cri.Capability(
        add_capabilities=security.pop("capabilities_add", []), drop_capabilities=security.pop("capabilities_drop", [])
    )
    profiles = cri.SecurityProfile
    context = cri.LinuxContainerSecurityContext(
        capabilities=capabilities,
        privileged=security.pop("privileged", False),
        namespace_options=options,
        readonly_rootfs=security.pop("read_only_rootfs", False),
        no_new_privs=security.pop("no_new_privileges", False),
        masked_paths=[] if unmasked else KUBELET_MASKED,
        readonly_paths=[] if unmasked else KUBELET_READ_ONLY,
        seccomp=profiles(profile_type=profiles.Unconfined if unconfined else profiles.RuntimeDefault),
        run_as_user=cri.Int64Value(value=security.pop("run_as_user", 0)),
        supplemental_groups=security.pop("supplemental_groups", []),
    )
    if "run_as_group" in security:
        context.run_as_group.value = security.pop("run_as_group")
    assert not security, security
    wanted = shape.get("resources", {})
    resources = cri.LinuxContainerResources(
        cpu_shares=wanted.get("cpu_shares", 0),
        cpu_quota=wanted.get("cpu_quota_us", 0),
        cpu_period=wanted.get("cpu_period_us", 0),
        memory_limit_in_bytes=wanted.get("memory_limit_bytes", 0),
        memory_swap_limit_in_bytes=wanted.get("memory_limit_bytes", 0),
        oom_score_adj=wanted.get("oom_score_adj", 0),
    )
    kinds = {"private": cri.PROPAGATION_PRIVATE, "rslave": cri.PROPAGATION_HOST_TO_CONTAINER}
    kinds["rshared"] = cri.PROPAGATION_BIDIRECTIONAL
    mounts = [
        cri.Mount(
            container_path=each["container_path"],
            host_path=each["host_path"],
            readonly=each.get("read_only", False),
            propagation=kinds[each.get("propagation", "private")],
        )
        for each in shape.get("mounts", ())
    ]
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name="c"),
        image=cri.ImageSpec(image=IMAGE),
        tty=shape.get("tty", False),
        working_dir=shape.get("working_dir", ""),
        envs=[cri.KeyValue(key=key, value=value.encode()) for key, value in shape.get("env", ())],
        mounts=mounts,
        log_path="c.log",
        linux=cri.LinuxContainerConfig(resources=resources, security_context=context),
    )


def record(runtime: Any, name: str, shape: dict[str, Any]) -> dict[str, Any]:
    pod_config = sandbox_config(name, shape)
    pod_id = runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=pod_config)).pod_sandbox_id
    try:
        config = container_config(shape, pod_config.linux.security_context.namespace_options)
        request = cri.CreateContainerRequest(pod_sandbox_id=pod_id, config=config, sandbox_config=pod_config)
        container_id = runtime.CreateContainer(request).container_id
        asked = cri.ContainerStatusRequest(container_id=container_id, verbose=True)
        info = json.loads(runtime.ContainerStatus(asked).info["info"])
        return trim(info["runtimeSpec"])
    finally:
        runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=pod_id))
        runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod_id))


def trim(spec: dict[str, Any]) -> dict[str, Any]:
    """Without ids, paths of one run, the machine's devices, and the list of system calls."""
    linux = spec["linux"]
    spec.pop("annotations", None)
    spec["root"].pop("path")
    linux["cgroupsPath"] = "PATH"
    for namespace in linux["namespaces"]:
        if "path" in namespace:
            namespace["path"] = "PATH"
    for mount in spec["mounts"]:
        if mount["type"] == "bind" and "/io.containerd.grpc.v1.cri/" in mount["source"]:
            mount["source"] = "PATH"
    if "devices" in linux:
        linux["devices"] = "HOST"
    # A pod on the host's network has the machine's name.
    spec["process"]["env"] = [
        each if each == "HOSTNAME=pod" or not each.startswith("HOSTNAME=") else "HOSTNAME=host"
        for each in spec["process"]["env"]
    ]
    if "seccomp" in linux:
        linux["seccomp"] = linux["seccomp"]["defaultAction"]
    return spec


def main() -> None:
    address = sys.argv[1]
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        archive.write(build_image())
        archive.flush()
        # Unpacked by the CRI plugin's snapshotter when a container is made.
        subprocess.run(
            ["ctr", "-a", address, "-n", "k8s.io", "images", "import", "--no-unpack", archive.name], check=True
        )
    runtime = stubs.RuntimeServiceStub(grpc.insecure_channel(f"unix://{address}"))
    version = runtime.Version(cri.VersionRequest()).runtime_version
    for name, shape in json.loads((RECORDED / "shapes.json").read_text()).items():
        document = {"containerd": version, "spec": record(runtime, name, shape)}
        (RECORDED / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
        print(name)


if __name__ == "__main__":
    main()

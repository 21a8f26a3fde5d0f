"""Command lines of crun and runc, their words about failures, and what they leave on disk."""

from __future__ import annotations

import json
import re

from podhost.cri.runtime import ContainerStartError
from podhost.linux import cgroup
from podhost.linux.fs import remove_tree
from podhost.runtime.members import kill_members
from podhost.runtime.settings import OciRuntime, RuntimePaths

_NOT_FOUND = re.compile(
    r"executable file [`'\"]?(?P<crun>[^`'\"\s]*)[`'\"]? not found"
    r'|exec: "(?P<runc>[^"]*)": executable file not found'
    r'|exec: "(?P<runc_path>[^"]*)": stat [^:]*: no such file'
    r"|open executable: No such file or directory",
)
_NOT_EXECUTABLE = re.compile(r"open executable|permission denied|is a directory|exec format error", re.I)
_LOGRUS = re.compile(r'^time="[^"]*" level=(?P<level>\w+) msg=(?P<quoted>"(?:[^"\\]|\\.)*")\s*$')
_TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z?:?\s*")


def build_global_args(runtime: OciRuntime, paths: RuntimePaths) -> list[str]:
    """Arguments before the verb."""
    args = ["--root", str(paths.oci_root)]
    if runtime.kind == "crun":
        args += ["--cgroup-manager", "cgroupfs" if cgroup.detect().version else "disabled"]
    return args


def build_argv(runtime: OciRuntime, paths: RuntimePaths, *args: str) -> list[str]:
    """A whole command line of the OCI runtime."""
    return [str(runtime.path), *build_global_args(runtime, paths), *args]


def clean_message(text: str) -> str:
    """The runtime's own words, without its log format."""
    lines = [_clean_line(line.strip()) for line in text.strip().splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith("[conmon"))


def drop_warnings(text: str) -> str:
    """Only the errors: runc logs warnings also of what has succeeded, crun does not."""
    return "\n".join(line for line in text.splitlines() if not _is_warning(line.strip()))


def _is_warning(line: str) -> bool:
    logged = _LOGRUS.match(line)
    return logged is not None and logged["level"] not in ("error", "fatal", "panic")


def _clean_line(line: str) -> str:
    logged = _LOGRUS.match(line)
    if logged is None:
        return _TIMESTAMP.sub("", line)
    try:
        return str(json.loads(logged["quoted"]))
    except ValueError:
        return logged["quoted"]


def describe_command_failure(text: str, command: str) -> tuple[str, int] | None:
    """Message and exit code when the runtime complains about the command itself: 127 absent, 126 not executable."""
    if _NOT_FOUND.search(text):
        if "/" in command:
            return f'exec: "{command}": stat {command}: no such file or directory', 127
        return f'exec: "{command}": executable file not found in $PATH', 127
    if _NOT_EXECUTABLE.search(text):
        return f'exec: "{command}": permission denied', 126
    return None


def build_start_error(runtime: OciRuntime, text: str, command: str) -> ContainerStartError:
    """What a kubelet on containerd reports of a container that the runtime refused: StartError, 128."""
    text = clean_message(text).removeprefix(f"{runtime.kind} create failed: ")
    prefix = f"OCI runtime create failed: {runtime.kind} create failed: "
    known = describe_command_failure(text, command)
    cause = f"unable to start container process: {known[0]}" if known else text or "no message"
    return ContainerStartError(prefix + cause)


def remove_runtime_traces(paths: RuntimePaths, oci_id: str, cgroup_path: str) -> None:
    """What ``delete`` of the OCI runtime would do, without a process: kill, cgroups, state.  Idempotent; blocking.

    Raises OSError or TimeoutError when processes cannot be killed.
    """
    kill_members(paths, oci_id, cgroup_path)
    remove_cgroup(cgroup_path)
    remove_tree(paths.oci_state(oci_id))


def remove_cgroup(path: str) -> None:
    """Remove the cgroup, and the plain directories that crun makes where a hybrid host's v2 hierarchy was."""
    cgroup.remove(path)
    layout = cgroup.detect()
    if layout.version == 1:
        shadow = layout.root / "unified" / path.strip("/")
        if shadow.is_dir() and not (shadow / "cgroup.controllers").exists():
            remove_tree(shadow)


def remove_empty_cgroup(path: str) -> None:
    """Remove a cgroup that has no child; one that has stays.  Blocking."""
    layout = cgroup.detect()
    directories = layout.directories(path)
    if layout.version == 1:
        directories.append(layout.root / "unified" / path.strip("/"))
    for directory in directories:
        try:
            directory.rmdir()
        except OSError:
            continue

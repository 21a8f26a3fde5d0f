"""From the global flags to an API client: which instance or cluster, whose home, which namespace."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import re
from dataclasses import dataclass, replace
from pathlib import Path

from podhost.cli.failure import HintedError
from podhost.client import ApiClient, ApiStatusError, Endpoint, kubeconfig_paths, load_kubeconfig, resolve_endpoint
from podhost.errors import InvalidError

OWN_API = "/apis/podhost.dev/v1alpha1"
_LEAVE_OUT = "leave --context and --kubeconfig out to ask podhost on this machine"
_INSTANCE = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancePaths:
    """Where an instance of this machine lives."""

    name: str
    run_root: Path
    data_root: Path

    @property
    def run_dir(self) -> Path:
        return self.run_root / self.name

    @property
    def data_dir(self) -> Path:
        return self.data_root / self.name

    @property
    def socket(self) -> Path:
        return self.run_dir / "podhost.sock"

    @property
    def log_file(self) -> Path:
        """Log of a daemon that the CLI has started."""
        if "PODHOST_DATA_ROOT" in os.environ:
            return self.data_dir / "daemon.log"
        return Path("/var/log/podhost") / f"{self.name}.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The person at the keyboard, also behind sudo."""

    uid: int
    gid: int
    home: Path
    runtime_dir: Path


def instance_paths(name: str) -> InstancePaths:
    """Raises InvalidError for a name that cannot be a directory and part of an interface's name."""
    if not _INSTANCE.fullmatch(name):
        raise InvalidError(
            f"cannot use the instance name '{name}': it must be lower-case letters, digits and '-', at most 32"
        )
    return InstancePaths(
        name=name,
        run_root=Path(os.environ.get("PODHOST_RUN_ROOT") or "/run/podhost"),
        data_root=Path(os.environ.get("PODHOST_DATA_ROOT") or "/var/lib/podhost"),
    )


def calling_user() -> Caller:
    """SUDO_USER's when root got here by sudo."""
    uid = os.getuid()
    sudo_uid = os.environ.get("SUDO_UID", "")
    if uid == 0 and sudo_uid.isdigit() and sudo_uid != "0":
        entry = pwd.getpwuid(int(sudo_uid))
        return Caller(
            uid=entry.pw_uid,
            gid=entry.pw_gid,
            home=Path(entry.pw_dir),
            runtime_dir=Path("/run/user") / sudo_uid,
        )
    return Caller(
        uid=uid,
        gid=os.getgid(),
        home=Path(os.environ.get("HOME") or pwd.getpwuid(uid).pw_dir),
        runtime_dir=Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"),
    )


def endpoint_for(args: argparse.Namespace) -> Endpoint:
    """The cluster of ``--context`` or ``--kubeconfig``, else this machine's instance."""
    if not args.context and not args.kubeconfig:
        return Endpoint(socket_path=instance_paths(args.instance).socket)
    config = load_kubeconfig(kubeconfig_paths(args.kubeconfig, os.environ))
    endpoint = resolve_endpoint(config, args.context)
    return run_exec_plugin(endpoint) if endpoint.exec_plugin else endpoint


def is_local(args: argparse.Namespace) -> bool:
    """Is it an instance of this machine, which the CLI may start?"""
    return not args.context and not args.kubeconfig


def connect(args: argparse.Namespace) -> ApiClient:
    from podhost import __version__

    return ApiClient(endpoint_for(args), user_agent=f"podhost/{__version__}")


def require_local(args: argparse.Namespace, what: str) -> None:
    """For commands about this machine.  Raises HintedError when another server was named."""
    if not is_local(args):
        raise HintedError(f"cannot {what} of a cluster: this is about podhost on this machine", _LEAVE_OUT)


def require_podhost(args: argparse.Namespace, client: ApiClient, what: str) -> None:
    """For what no other server has.  Raises HintedError."""
    if not serves_podhost(args, client):
        raise HintedError(f"cannot {what} of this server: only podhost's can", _LEAVE_OUT)


def serves_podhost(args: argparse.Namespace, client: ApiClient) -> bool:
    """Is the server podhost?  Asked only where another cluster's may be meant."""
    if is_local(args):
        return True
    try:
        client.get(OWN_API)
    except ApiStatusError:
        return False
    return True


def namespace_of(args: argparse.Namespace, client: ApiClient) -> str:
    return str(args.namespace or client.endpoint.namespace or "default")


def run_exec_plugin(endpoint: Endpoint) -> Endpoint:
    """Credentials from the program that the kubeconfig names (``client.authentication.k8s.io``).

    Raises:
        HintedError: The program is missing or fails.
    """
    import subprocess

    plugin = endpoint.exec_plugin or {}
    argv = [str(plugin.get("command", "")), *map(str, plugin.get("args") or ())]
    extra = {str(entry["name"]): str(entry["value"]) for entry in plugin.get("env") or ()}
    question = {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    environment = {**os.environ, **extra, "KUBERNETES_EXEC_INFO": json.dumps(question)}
    try:
        done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, check=True)
        status = json.loads(done.stdout)["status"]
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError) as error:
        hint = str(plugin.get("installHint") or "run it by hand to see what is wrong")
        raise HintedError(f"cannot get credentials from '{' '.join(argv)}': {error}", hint) from error
    return replace(
        endpoint,
        exec_plugin=None,
        token=str(status.get("token") or endpoint.token),
        client_cert=str(status["clientCertificateData"]).encode() if "clientCertificateData" in status else None,
        client_key=str(status["clientKeyData"]).encode() if "clientKeyData" in status else None,
    )

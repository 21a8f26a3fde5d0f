"""``podhost restart``: a fresh run of pods.

The API of Kubernetes cannot start the containers of a pod again.  A bare pod is therefore deleted and created anew
from its own specification; one that a controller owns is deleted, and its controller makes the next; a workload's
template is stamped, as ``kubectl rollout restart`` does it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from datetime import UTC, datetime
from typing import Any

from podhost.cli.down import delete_and_wait
from podhost.cli.failure import HintedError
from podhost.cli.hints import say_hint
from podhost.cli.named_objects import Named, fetch_named
from podhost.cli.recreate import build_recreated_pod
from podhost.cli.session import connect, namespace_of
from podhost.cli.terminal import say
from podhost.cli.up import wait_for_pods
from podhost.cli.up_wait import WaitOptions
from podhost.client import ApiClient, ApiStatusError, resource_path
from podhost.errors import PodhostError

_WORKLOADS = ("Deployment", "DaemonSet", "StatefulSet")
_EXAMPLES = """\
A pod is made anew under its name: it gets a new uid and address, empty emptyDir volumes and no log of the run
before.  One that a controller owns is replaced by that controller.  Deployments, DaemonSets and StatefulSets
replace their pods one after the other.

exit codes:
  0    restarted and ready again
  1    it cannot be made anew (then nothing was deleted), or cannot start
  124  not ready in time

examples:
  podhost restart web
  podhost restart web db --now             without the grace period
  podhost restart deployment/shop
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("targets", nargs="+", metavar="POD|KIND/NAME", help="pods, or workloads: deployment/NAME …")
    parser.add_argument("--now", action="store_true", help="one second of grace instead of the pod's own")
    parser.add_argument("--no-wait", dest="wait", action="store_false", help="do not wait until it is ready")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="how long to wait (120)")


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    namespace = namespace_of(args, client)
    targets = [fetch_named(client, word, namespace) for word in dict.fromkeys(args.targets)]
    for target in targets:
        _check(client, target)
    made = []
    for target in targets:
        pod = _restart(client, target, args)
        if pod is not None:
            made.append(pod)
    if not made or not args.wait:
        return 0
    return wait_for_pods(client, made, WaitOptions(timeout_s=args.timeout, detach=True))


def _check(client: ApiClient, target: Named) -> None:
    """Refuse before anything is deleted.  Raises HintedError."""
    if target.kind in _WORKLOADS:
        return
    if target.kind != "Pod":
        raise HintedError(f"cannot restart {target.label}: it runs nothing", "name a pod, or deployment/NAME")
    if _owner(target.object) is None:
        _try_to_create(client, target)


def _try_to_create(client: ApiClient, target: Named) -> None:
    """A server that finds nothing wrong says that the name is taken."""
    path = target.resource.path(target.namespace)
    try:
        client.create(path, build_recreated_pod(target.object), dryRun="All")
    except ApiStatusError as error:
        if error.reason != "AlreadyExists":
            raise HintedError(
                f"cannot restart {target.label}: the server would not take it again: {error}",
                "nothing was deleted; mend its manifest, then: podhost down and podhost up",
            ) from error


def _restart(client: ApiClient, target: Named, args: argparse.Namespace) -> dict[str, Any] | None:
    """The new pod, where this command makes it."""
    if target.kind in _WORKLOADS:
        stamp = {"kubectl.kubernetes.io/restartedAt": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        client.patch(target.path, {"spec": {"template": {"metadata": {"annotations": stamp}}}})
        say(f"{target.label} restarted: it replaces its pods now", mark="✓", colour="green")
        return None
    grace_s = 1 if args.now else None
    owner = _owner(target.object)
    goal = (target.resource, target.namespace, target.name, target.label)
    if owner is not None:
        delete_and_wait(client, [goal], grace_s=grace_s, timeout_s=args.timeout)
        say_hint(f"{owner} makes a new one")
        return None
    document = build_recreated_pod(target.object)
    try:
        delete_and_wait(client, [goal], grace_s=grace_s, timeout_s=args.timeout)
        pod = client.create(resource_path("v1", "pods", namespace=target.namespace), document)
    except (PodhostError, KeyboardInterrupt) as error:
        raise _rescue(target, document, error) from error
    say(f"{target.label} created anew", mark="•", colour="grey")
    return pod


def _rescue(target: Named, document: dict[str, Any], error: BaseException) -> HintedError:
    """The pod may be gone by now: what it was is not lost."""
    fd, path = tempfile.mkstemp(prefix=f"{target.name}-", suffix=".json")
    with os.fdopen(fd, "w") as file:
        json.dump(document, file, indent=2)
    cause = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    return HintedError(
        f"cannot restart {target.label}: {cause}", f"its manifest is kept; to create it: podhost up {path}"
    )


def _owner(pod: dict[str, Any]) -> str | None:
    for owner in pod["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            return f"{str(owner.get('kind', '')).lower()}/{owner.get('name', '')}"
    return None

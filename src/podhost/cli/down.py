"""``podhost down``: delete what manifests or names name, and wait until it is gone."""

from __future__ import annotations

import argparse
import queue
import threading
from collections.abc import Sequence
from pathlib import Path

from podhost.cli.apply import locate
from podhost.cli.failure import HintedError
from podhost.cli.kinds import Resource, Resources, core_resource
from podhost.cli.pod_watch import wait_gone
from podhost.cli.session import connect, namespace_of
from podhost.cli.terminal import StatusLine, say
from podhost.client import ApiClient, ApiStatusError
from podhost.errors import PodhostError

Target = tuple[Resource, str, str, str]
"""Resource, namespace, name, label."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets", nargs="+", metavar="FILE|POD", help="manifests, or names: POD, pod/NAME, service/NAME …"
    )
    parser.epilog = (
        "exit codes:\n"
        "  0    all is gone; a manifest's object may have been gone before\n"
        "  1    something that was named was not there, or is still there after --timeout\n\n"
        "examples:\n"
        "  podhost down pod.yaml                    what up has made\n"
        "  podhost down manifests/ --now            one second of grace\n"
        "  podhost down web service/web             by name\n"
    )
    parser.add_argument("--now", action="store_true", help="one second of grace instead of the pod's own")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="how long to wait (120)")


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    namespace = namespace_of(args, client)
    targets: list[Target] = []
    for word in args.targets:
        targets += _targets_of(word, client, namespace)
    missing = delete_and_wait(client, targets, grace_s=1 if args.now else None, timeout_s=args.timeout)
    named_only = all(not _is_manifest(word) for word in args.targets)
    return 1 if missing and named_only else 0


def delete_and_wait(
    client: ApiClient, targets: Sequence[Target], *, grace_s: int | None = None, timeout_s: float = 120.0
) -> list[str]:
    """Delete all at once, then wait for each.  Returns the labels of what was not there.

    Raises:
        HintedError: Something is still there after ``timeout_s``.
    """
    missing, waiting = [], []
    for target in targets:
        uid = _delete(client, target, grace_s)
        if uid is None:
            missing.append(target[3])
            say(f"{target[3]} is not there", mark="•", colour="grey")
        else:
            waiting.append((target, uid))
    _wait_all(client, waiting, timeout_s)
    return missing


def _wait_all(client: ApiClient, waiting: Sequence[tuple[Target, str]], timeout_s: float) -> None:
    answers: queue.SimpleQueue[tuple[Target, bool | PodhostError]] = queue.SimpleQueue()

    def wait(target: Target, uid: str) -> None:
        resource, namespace, name, _ = target
        try:
            answers.put((target, wait_gone(client, resource.path(namespace), name, uid, timeout_s=timeout_s)))
        except PodhostError as error:
            answers.put((target, error))

    for target, uid in waiting:
        threading.Thread(target=wait, args=(target, uid), daemon=True, name=f"wait-{target[2]}").start()
    line = StatusLine()
    left = [target[3] for target, _ in waiting]
    stuck = []
    while left:
        line.show(f"… waiting until gone: {', '.join(left)}", plain="")
        target, answer = answers.get()
        left.remove(target[3])
        line.clear()
        if isinstance(answer, PodhostError):
            raise answer
        if answer:
            say(f"{target[3]} deleted", mark="✓", colour="green")
        else:
            stuck.append(target[3])
    if stuck:
        raise HintedError(
            f"cannot see the end of {', '.join(stuck)}: still there after {timeout_s:.0f} s",
            "do not wait for its grace period: podhost down --now …",
        )


def _delete(client: ApiClient, target: Target, grace_s: int | None) -> str | None:
    """Uid of what is being deleted; ``None`` when there is nothing."""
    resource, namespace, name, _ = target
    path = resource.path(namespace, name)
    try:
        uid = str(client.get(path)["metadata"]["uid"])
        client.delete(path, grace_s=grace_s, propagation="Background")
    except ApiStatusError as error:
        if error.code == 404:
            return None
        raise
    return uid


def _is_manifest(word: str) -> bool:
    return word == "-" or Path(word).exists() or word.endswith((".yaml", ".yml", ".json"))


def _targets_of(word: str, client: ApiClient, namespace: str) -> list[Target]:
    if not _is_manifest(word):
        kind, slash, name = word.partition("/")
        resource = core_resource(kind if slash else "pod")
        if resource is None or (slash and not name):
            raise HintedError(
                f"cannot delete '{word}': it is neither a file nor a name",
                "say FILE, POD, or KIND/NAME such as service/web",
            )
        label = f"{resource.plural.removesuffix('s')}/{name if slash else word}"
        return [(resource, namespace if resource.namespaced else "", name if slash else word, label)]
    from podhost.cli.manifests import load_manifests

    located = locate([manifest for manifest in load_manifests([word]) if manifest.name], Resources(client), namespace)
    return [(resource, where, m.name, f"{m.kind.lower()}/{m.name}") for m, resource, where in reversed(located)]

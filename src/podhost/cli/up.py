"""``podhost up``: apply, wait until Ready or say why not, follow the merged logs."""

from __future__ import annotations

import argparse
import queue
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from podhost.api.objects import is_terminal
from podhost.cli.apply import Applied, apply_manifest, locate
from podhost.cli.daemon_start import ensure_daemon
from podhost.cli.down import delete_and_wait
from podhost.cli.hints import say_hint
from podhost.cli.kinds import Resources
from podhost.cli.log_follow import Arrived, LinePrinter, LogFollower, sources_of
from podhost.cli.log_merge import LogLine
from podhost.cli.manifests import Manifest, load_manifests
from podhost.cli.session import connect, is_local, namespace_of, serves_podhost
from podhost.cli.terminal import has_colour, is_live, say
from podhost.cli.up_pods import TrackedPod, TrackedPods
from podhost.cli.up_wait import BoardDisplay, Display, PlainDisplay, Waiting, WaitOptions
from podhost.cli.verdict import compute_exit_code
from podhost.client import ApiClient


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="manifests: files, directories, URLs, or - for stdin")
    parser.add_argument("-d", "--detach", "--wait", dest="detach", action="store_true", help="return when all is ready")
    parser.add_argument(
        "--no-wait", dest="wait", action="store_false", help="return as soon as the objects are made; wait for nothing"
    )
    parser.add_argument("--rm", action="store_true", help="delete everything again at the end or on Ctrl-C")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="how long to wait (300)")
    parser.epilog = (
        "Without --detach the logs of all containers follow, in the order of time.  Ctrl-C leaves the pods as they\n"
        "are; with --rm it removes them.\n\n"
        "exit codes:\n"
        "  0    ready or completed; Ctrl-C after that\n"
        "  N    the container's own, for a pod that ran to its end and failed\n"
        "  1    the manifest has faults, or a pod cannot start\n"
        "  124  not ready in time\n"
        "  130  Ctrl-C while waiting\n\n"
        "examples:\n"
        "  podhost up pod.yaml                      start, wait until ready, follow the logs\n"
        "  podhost up -d --timeout 30 manifests/    for scripts: ready within 30 seconds, or a failure\n"
        "  podhost up --rm job.yaml                 run to the end, take its exit code, leave nothing\n"
        "  kustomize build . | podhost up -         from stdin\n"
        "  podhost --context prod up pod.yaml       on another cluster\n"
    )


def run(args: argparse.Namespace) -> int:
    # Another cluster may be of another version: there the server alone judges fields and values.
    manifests = load_manifests(args.files, check=is_local(args), namespace=args.namespace or "")
    # A supervisor's SIGTERM ends as Ctrl-C does, so that --rm keeps its word.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if is_local(args):
        ensure_daemon(args)
    client = connect(args)
    client.on_warning = _warn
    applied: list[Applied] = []
    try:
        applied = _apply_all(client, manifests, namespace_of(args, client))
        pods = [item.object for item in applied if item.manifest.kind == "Pod"]
        args.removal = removal(args.files, applied)
        return _wait_and_follow(client, pods, args) if pods and args.wait else 0
    except KeyboardInterrupt:
        if not args.rm:
            say("interrupted; what was created stays.", mark="■", colour="yellow")
            if applied:
                say_hint(f"remove: {removal(args.files, applied)}")
        return 130
    finally:
        if args.rm and applied:
            delete_and_wait(client, [(item.resource, item.namespace, item.name, item.label) for item in applied[::-1]])


def removal(files: Sequence[str], applied: Sequence[Applied]) -> str:
    """The command that undoes this one; what came from stdin is gone, so its objects are named."""
    words = [item.label for item in applied] if "-" in files else list(files)
    return f"podhost down {shlex.join(words)}"


def _warn(text: str) -> None:
    """As kubectl shows what the server warns of: a field that is not honoured, a deprecated one."""
    say(text, mark="Warning:", colour="yellow")


def _apply_all(client: ApiClient, manifests: Sequence[Manifest], namespace: str) -> list[Applied]:
    applied = []
    for manifest, resource, where in locate(manifests, Resources(client), namespace):
        item = apply_manifest(client, manifest, resource, where)
        applied.append(item)
        say(f"{item.label} {item.change}", mark="•", colour="grey")
        if item.change != "created" and is_terminal(item.object):
            say_hint(f"{item.label} has ended already; to run it once more: podhost down {item.name}, then up again")
    return applied


def wait_for_pods(client: ApiClient, objects: Sequence[dict[str, Any]], options: WaitOptions) -> int:
    """Show how they start; the exit code."""
    pods, display = _track(client, objects)
    try:
        code = Waiting(pods, options, display).run()
        return _final_code(pods.pods) if code is None else code
    finally:
        pods.stop()


def _wait_and_follow(client: ApiClient, objects: Sequence[dict[str, Any]], args: argparse.Namespace) -> int:
    options = WaitOptions(timeout_s=args.timeout, detach=args.detach, removal="" if args.rm else args.removal)
    if args.detach:
        return wait_for_pods(client, objects, options)
    pods, display = _track(client, objects)
    try:
        code = Waiting(pods, options, display).run()
        return _Following(pods, args).run() if code is None else code
    finally:
        pods.stop()


def _track(client: ApiClient, objects: Sequence[dict[str, Any]]) -> tuple[TrackedPods, Display]:
    live = is_live(sys.stderr)
    pods = TrackedPods(client, objects, with_pulls=live)
    pods.start()
    return pods, BoardDisplay() if live else PlainDisplay()


def _final_code(pods: Sequence[TrackedPod]) -> int:
    """The first exit code that is not 0 of pods that have run to their end."""
    codes = [0 if pod.gone else compute_exit_code(pod.object) for pod in pods]
    return next((code for code in codes if code), 0)


class _Following:
    """The second half: the merged logs, until the pods have ended or the person has seen enough."""

    def __init__(self, pods: TrackedPods, args: argparse.Namespace) -> None:
        self._pods = pods
        self._args = args
        self._follower = LogFollower(pods.client, pods.inbox, query={})
        self._printer = LinePrinter(prefixes=True, timestamps=False)
        # Colour tells stdout and stderr apart; without it both are read as they were written.
        self._apart = has_colour(sys.stdout) and serves_podhost(args, pods.client)

    def run(self) -> int:
        merger = self._follower.merger
        try:
            while True:
                for pod in self._pods.pods:
                    for source in [] if pod.gone else sources_of(pod.object):
                        for part in source.split() if self._apart else (source,):
                            self._follower.follow(part)
                    self._tell_changes(pod)
                if all(pod.has_ended for pod in self._pods.pods) and self._follower.open_streams == 0:
                    self._print(merger.flush())
                    return _final_code(self._pods.pods)
                self._print(merger.pop_ready(time.monotonic()))
                self._receive()
        except KeyboardInterrupt:
            self._print(merger.flush())
            self._say_goodbye()
            return 0

    def _receive(self) -> None:
        """Wait for something, then take all that is there."""
        inbox = self._pods.inbox
        try:
            item = inbox.get(timeout=self._follower.merger.wait_s(time.monotonic()))
            while True:
                if isinstance(item, Arrived):
                    self._follower.accept(item)
                else:
                    self._pods.take(item)
                item = inbox.get_nowait()
        except queue.Empty:
            return

    def _print(self, lines: Sequence[LogLine]) -> None:
        for line in lines:
            source = self._follower.source(line.source)
            self._printer.write(line, f"{source.pod}/{source.container}", source.stream)
        if lines:
            self._printer.flush()

    def _tell_changes(self, pod: TrackedPod) -> None:
        """Say once when a pod that was ready gets into trouble or ends."""
        verdict = pod.judge()
        state = "gone" if pod.gone else f"{verdict.state} {verdict.reason}"
        if pod.told in (verdict.state, state):
            return
        pod.told = state
        if pod.gone:
            say(f"pod/{pod.name} was deleted", mark="■", colour="yellow")
        elif verdict.state == "stuck":
            say(f"pod/{pod.name} {verdict.text}", mark="✗", colour="red")
        elif verdict.state == "failed":
            say(f"pod/{pod.name} failed: {verdict.text}", mark="✗", colour="red")
        elif verdict.state == "completed":
            say(f"pod/{pod.name} completed", mark="✓", colour="green")
        if verdict.next_step and verdict.next_step not in pod.hinted:
            pod.hinted.add(verdict.next_step)
            say_hint(verdict.next_step)

    def _say_goodbye(self) -> None:
        if self._args.rm:
            return
        pods = self._pods.pods
        names = " ".join(pod.name for pod in pods)
        say("")
        say(f"{names} {'goes' if len(pods) == 1 else 'go'} on running.", mark="■", colour="yellow")
        say_hint(f"see the logs: podhost logs -f {pods[0].name}")
        say_hint(f"remove: {self._args.removal}")

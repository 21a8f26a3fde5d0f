"""``podhost up``: apply, wait until Ready or say why not, follow the merged logs."""

from __future__ import annotations

import argparse
import queue
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from podhost.cli.apply import Applied, apply_manifest, locate
from podhost.cli.daemon_start import ensure_daemon
from podhost.cli.down import delete_and_wait
from podhost.cli.kinds import Resources
from podhost.cli.log_follow import Arrived, LinePrinter, LogFollower, sources_of
from podhost.cli.manifests import Manifest, load_manifests
from podhost.cli.pod_watch import Lost, Seen, Watcher
from podhost.cli.session import connect, is_local, namespace_of
from podhost.cli.terminal import StatusLine, has_colour, paint, say
from podhost.cli.verdict import Verdict, compute_exit_code, compute_verdict
from podhost.client import ApiClient, resource_path
from podhost.errors import PodhostError

EXIT_TIMEOUT = 124
LOG_TAIL_LINES = 10
SETTLE_S = 0.5
"""With --detach: how long pods must stay ready.  A container without a probe is ready before it has failed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="manifests: files, directories, or - for stdin")
    parser.add_argument("-d", "--detach", action="store_true", help="do not follow the logs")
    parser.add_argument("--rm", action="store_true", help="delete everything again at the end or on Ctrl-C")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="how long to wait (300)")
    parser.epilog = (
        "exit codes: 0 ready or completed; the container's own for a pod that ran to its end; 1 cannot start;\n"
        "124 not ready in time; 130 Ctrl-C while waiting"
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
        return _Up(client, applied, args).run()
    except KeyboardInterrupt:
        if not args.rm:
            say("interrupted; what was created stays.", mark="■", colour="yellow")
            if applied:
                say(f"  → remove: podhost down {' '.join(args.files)}")
        return 130
    finally:
        if args.rm and applied:
            delete_and_wait(client, [(item.resource, item.namespace, item.name, item.label) for item in applied[::-1]])


def _warn(text: str) -> None:
    """As kubectl shows what the server warns of: a field that is not honoured, a deprecated one."""
    say(text, mark="Warning:", colour="yellow")


def _apply_all(client: ApiClient, manifests: Sequence[Manifest], namespace: str) -> list[Applied]:
    applied = []
    for manifest, resource, where in locate(manifests, Resources(client), namespace):
        item = apply_manifest(client, manifest, resource, where)
        applied.append(item)
        say(f"{item.label} {item.change}", mark="•", colour="grey")
        if item.change != "created" and (item.object.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            say(f"  → {item.label} has ended already; to run it once more: podhost down {item.name}, then up again")
    return applied


@dataclass(slots=True)
class _Pod:
    """A pod that is waited for, as the watch last showed it."""

    object: dict[str, Any]
    verdict: Verdict | None = None
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    gone: bool = False
    told: str = ""

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.object["metadata"]["namespace"])

    @property
    def has_ended(self) -> bool:
        return self.gone or (self.object.get("status") or {}).get("phase") in ("Succeeded", "Failed")

    def judge(self) -> Verdict:
        ordered = sorted(self.events.values(), key=lambda event: int(event["metadata"].get("resourceVersion") or 0))
        self.verdict = compute_verdict(self.object, ordered)
        return self.verdict


class _Up:
    """State of one ``up`` after the objects are made."""

    def __init__(self, client: ApiClient, applied: Sequence[Applied], args: argparse.Namespace) -> None:
        self.client = client
        self.args = args
        self.inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        pods = [item.object for item in applied if item.manifest.kind == "Pod"]
        self.pods = {str(pod["metadata"]["uid"]): _Pod(pod) for pod in pods}
        self.line = StatusLine()
        self.started = time.monotonic()

    def run(self) -> int:
        if not self.pods:
            return 0
        watcher = Watcher(self.client, self.inbox)
        for namespace in sorted({pod.namespace for pod in self.pods.values()}):
            watcher.start("Pod", resource_path("v1", "pods", namespace=namespace))
            watcher.start("Event", resource_path("v1", "events", namespace=namespace))
        try:
            code = self._wait()
            if code is not None:
                return code
            if self.args.detach:
                return max((compute_exit_code(pod.object) for pod in self.pods.values()), default=0)
            return self._follow()
        finally:
            watcher.stop()
            self.line.clear()

    # --- waiting ------------------------------------------------------------------------------------------------
    def _wait(self) -> int | None:
        """Until every pod is ready or has ended: ``None``; else the exit code of giving up."""
        deadline = self.started + self.args.timeout
        settled_at = None
        while True:
            left = min(deadline, settled_at or deadline) - time.monotonic()
            try:
                if left <= 0:
                    return self._give_up() if settled_at is None else None
                self._take(self.inbox.get(timeout=min(left, 1.0)))
            except queue.Empty:
                pass
            verdicts = [(pod, pod.judge()) for pod in self.pods.values()]
            stuck = [pod for pod, verdict in verdicts if verdict.state == "stuck" or pod.gone]
            if stuck:
                self.line.clear()
                for pod in stuck:
                    self._explain(pod)
                return 1
            self._announce(verdicts)
            if any(verdict.state == "waiting" for _, verdict in verdicts):
                settled_at = None
                continue
            self.line.clear()
            if not self.args.detach or all(verdict.state != "ready" for _, verdict in verdicts):
                return None
            settled_at = settled_at or time.monotonic() + SETTLE_S

    def _take(self, item: object) -> None:
        if isinstance(item, Lost):
            raise item.error
        if not isinstance(item, Seen):
            return
        if item.kind == "Pod":
            pod = self.pods.get(str(item.object["metadata"]["uid"]))
            if pod is not None:
                pod.object, pod.gone = item.object, item.deleted
        elif item.kind == "Event":
            pod = self.pods.get(str((item.object.get("involvedObject") or {}).get("uid", "")))
            if pod is not None:
                pod.events[str(item.object["metadata"]["name"])] = item.object

    def _announce(self, verdicts: Sequence[tuple[_Pod, Verdict]]) -> None:
        waiting = []
        for pod, verdict in verdicts:
            if verdict.state == "waiting":
                waiting.append(f"{pod.name}: {verdict.text}")
            elif pod.told != verdict.state:
                pod.told = verdict.state
                self.line.clear()
                took = f"after {time.monotonic() - self.started:.1f} s"
                mark, colour = ("✗", "red") if verdict.state == "failed" else ("✓", "green")
                say(f"pod/{pod.name} {verdict.text} {took}", mark=mark, colour=colour)
                if verdict.state == "failed" and self.args.detach:
                    self._show_log(pod, verdict)
        if waiting:
            seconds = int(time.monotonic() - self.started)
            self.line.show(f"… {'; '.join(waiting)} ({seconds}s)", plain=f"… {'; '.join(waiting)}")

    def _give_up(self) -> int:
        self.line.clear()
        for pod in self.pods.values():
            verdict = pod.judge()
            if verdict.state == "waiting":
                text = f"pod/{pod.name} is not ready after {self.args.timeout:.0f} s: {verdict.text}"
                say(text, mark="✗", colour="red")
                say(f"  → look closer: kubectl describe pod {pod.name} -n {pod.namespace}")
        return EXIT_TIMEOUT

    def _explain(self, pod: _Pod) -> None:
        if pod.gone:
            say(f"pod/{pod.name} was deleted while podhost waited for it", mark="✗", colour="red")
            return
        verdict = pod.verdict
        assert verdict is not None
        say(f"pod/{pod.name} cannot become ready: {verdict.text}", mark="✗", colour="red")
        self._show_log(pod, verdict)
        if verdict.next_step:
            say(f"  → {verdict.next_step}")
        if not self.args.rm:
            say("  → the pod stays and is tried again; remove it: podhost down " + " ".join(self.args.files))

    def _show_log(self, pod: _Pod, verdict: Verdict) -> None:
        if not verdict.container:
            return
        try:
            lines = list(
                self.client.stream_log(
                    pod.namespace, pod.name, verdict.container, tailLines=LOG_TAIL_LINES, previous=verdict.previous_log
                )
            )
        except PodhostError:
            return
        if lines:
            say(f"    last lines of {pod.name}/{verdict.container}:")
        for line in lines:
            say(paint(f"    | {line.decode(errors='replace')}", "grey", enabled=has_colour(sys.stderr)))

    # --- following ----------------------------------------------------------------------------------------------
    def _follow(self) -> int:
        follower = LogFollower(self.client, self.inbox, query={})
        printer = LinePrinter(prefixes=True, timestamps=False)
        try:
            while True:
                for pod in self.pods.values():
                    for source in [] if pod.gone else sources_of(pod.object):
                        follower.follow(source)
                    self._tell_changes(pod)
                if all(pod.has_ended for pod in self.pods.values()) and follower.open_streams == 0:
                    self._print(follower, printer, follower.merger.flush())
                    return self._finish()
                self._print(follower, printer, follower.merger.pop_ready(time.monotonic()))
                self._receive(follower)
        except KeyboardInterrupt:
            self._print(follower, printer, follower.merger.flush())
            self._say_goodbye()
            return 0

    def _receive(self, follower: LogFollower) -> None:
        """Wait for something, then take all that is there."""
        try:
            item = self.inbox.get(timeout=follower.merger.wait_s(time.monotonic()))
            while True:
                if isinstance(item, Arrived):
                    follower.accept(item)
                else:
                    self._take(item)
                item = self.inbox.get_nowait()
        except queue.Empty:
            return

    def _print(self, follower: LogFollower, printer: LinePrinter, lines: Sequence[Any]) -> None:
        for line in lines:
            source = follower.source(line.source)
            printer.write(line, f"{source.pod}/{source.container}")
        if lines:
            printer.flush()

    def _tell_changes(self, pod: _Pod) -> None:
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

    def _finish(self) -> int:
        codes = [0 if pod.gone else compute_exit_code(pod.object) for pod in self.pods.values()]
        return next((code for code in codes if code), 0)

    def _say_goodbye(self) -> None:
        if self.args.rm:
            return
        names = " ".join(pod.name for pod in self.pods.values())
        say("")
        say(
            f"{names} goes on running." if len(self.pods) == 1 else f"{names} go on running.", mark="■", colour="yellow"
        )
        say(f"  → see the logs: podhost logs -f {next(iter(self.pods.values())).name}")
        say(f"  → remove: podhost down {' '.join(self.args.files)}")

"""A pod in words: what is wrong first, then its containers, volumes and events.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from podhost.cli.describe_text import (
    events_section,
    format_when,
    labelled,
    metadata_lines,
    title,
    yaml_lines,
)
from podhost.cli.hints import complete_hint
from podhost.cli.recreate import TOKEN_VOLUME
from podhost.cli.terminal import clean_text, paint
from podhost.cli.verdict import Verdict

Document = Mapping[str, Any]

# terminationMessage…: defaults that tell nothing.
_SHOWN_OF_CONTAINER = frozenset(
    [
        "name",
        "image",
        "imagePullPolicy",
        "command",
        "args",
        "ports",
        "env",
        "envFrom",
        "resources",
        "volumeMounts",
        "restartPolicy",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "terminationMessagePath",
        "terminationMessagePolicy",
    ]
)
_SHOWN_OF_SPEC = frozenset(
    [
        "containers",
        "initContainers",
        "ephemeralContainers",
        "volumes",
        "nodeName",
        "restartPolicy",
        "serviceAccountName",
        "serviceAccount",
        "terminationGracePeriodSeconds",
        "tolerations",
    ]
)
_DEFAULTS: dict[str, Any] = {
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
    "priority": 0,
}
_COLOURS = {"ready": "green", "completed": "green", "waiting": "yellow", "failed": "red", "stuck": "red"}
_SECTIONS = (
    ("Init containers", "initContainers", "initContainerStatuses"),
    ("Containers", "containers", "containerStatuses"),
    ("Ephemeral containers", "ephemeralContainers", "ephemeralContainerStatuses"),
)


def describe_pod(
    pod: Document,
    events: Sequence[Document],
    verdict: Verdict,
    now_s: float,
    *,
    log: Sequence[str] = (),
    port_holders: Sequence[str] = (),
    colour: bool = False,
) -> list[str]:
    """Args:
    events: Of this pod, oldest first.
    log: The last lines of the log that explains the verdict.
    port_holders: What keeps it from its host ports, see :func:`find_port_holders`.
    """
    lines = list(_head(pod, verdict, now_s, log, port_holders, colour=colour))
    statuses = pod.get("status") or {}
    for heading, section, key in _SECTIONS:
        entries = {entry.get("name"): entry for entry in statuses.get(key) or []}
        containers = pod["spec"].get(section) or []
        if containers:
            lines += ["", title(heading, colour=colour)]
        for container in containers:
            lines += _container(container, entries.get(container["name"]) or {}, now_s, colour=colour)
    lines += _volumes(pod["spec"], colour=colour)
    lines += _rest(pod["spec"], colour=colour)
    return [*lines, *events_section(events, now_s, colour=colour)]


def _head(
    pod: Document,
    verdict: Verdict,
    now_s: float,
    log: Sequence[str],
    port_holders: Sequence[str],
    *,
    colour: bool,
) -> Iterator[str]:
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    state = "is being deleted" if metadata.get("deletionTimestamp") else verdict.text
    hue = _COLOURS[verdict.state]
    yield f"{title('pod/' + metadata['name'], colour=colour)}  {paint(clean_text(state), hue, enabled=colour)}"
    if log:
        yield f"  last lines of {verdict.container}:"
        yield from (paint(f"    | {clean_text(line)}", "grey", enabled=colour) for line in log)
    yield from (f"  host port {holder}" for holder in port_holders)
    if port_holders:
        yield "  → choose another hostPort, or delete the pod that has it"
    elif verdict.next_step:
        # The next step of a description is not that description.
        here = re.sub(rf": podhost describe {re.escape(metadata['name'])}(?![\w.-])", " (below)", verdict.next_step)
        yield f"  → {complete_hint(here)}"
    yield ""
    yield from metadata_lines(pod, now_s)
    yield labelled("Status", _phase(status))
    yield labelled("Conditions", _conditions(status))
    yield labelled(
        "Node", f"{spec.get('nodeName') or '<none>'}{'/' + status['hostIP'] if status.get('hostIP') else ''}"
    )
    yield labelled("IP", ", ".join(each["ip"] for each in status.get("podIPs") or []) or "<none>")
    yield labelled("Started", format_when(status.get("startTime"), now_s))
    yield labelled("Restart policy", spec.get("restartPolicy", "Always"))
    yield labelled("Grace period", f"{spec.get('terminationGracePeriodSeconds', 30)} s")
    yield labelled("Account", spec.get("serviceAccountName") or "default")
    yield labelled("QoS class", status.get("qosClass") or "<none>")


def _phase(status: Document) -> str:
    parts = [
        str(status.get("phase") or "Unknown"),
        *(str(status[key]) for key in ("reason", "message") if status.get(key)),
    ]
    return ": ".join(parts)


def _conditions(status: Document) -> str:
    """All that are true on one line; the others with their reason."""
    conditions = status.get("conditions") or []
    lines = [", ".join(str(c.get("type")) for c in conditions if c.get("status") == "True")]
    for condition in conditions:
        if condition.get("status") != "True":
            why = ": ".join(str(condition[key]) for key in ("reason", "message") if condition.get(key))
            lines.append(f"not {condition.get('type')}" + (f" ({why})" if why else ""))
    return "\n".join(line for line in lines if line) or "<none>"


def _container(container: Document, entry: Document, now_s: float, *, colour: bool) -> Iterator[str]:
    yield f"  {title(container['name'], colour=colour)}"
    for label, value in _container_facts(container, entry, now_s):
        yield labelled(label, value, indent=4)
    more = {key: value for key, value in container.items() if key not in _SHOWN_OF_CONTAINER and value not in ({}, [])}
    if more:
        yield "    Also set:"
        yield from yaml_lines(more, indent=6)


def _container_facts(container: Document, entry: Document, now_s: float) -> Iterator[tuple[str, str]]:
    yield "State", _state(entry.get("state") or {}, entry, now_s)
    if entry.get("lastState"):
        yield "Last run", _state(entry["lastState"], {}, now_s)
    if entry.get("restartCount"):
        yield "Restarts", str(entry["restartCount"])
    policy = container.get("imagePullPolicy")
    yield "Image", f"{container.get('image')}" + (f" (pull: {policy})" if policy else "")
    if entry.get("imageID"):
        yield "Image ID", str(entry["imageID"])
    if entry.get("containerID"):
        yield "Container ID", str(entry["containerID"])
    if container.get("restartPolicy"):
        yield "Restart policy", str(container["restartPolicy"])
    for label, key in (("Command", "command"), ("Args", "args")):
        if container.get(key):
            yield label, " ".join(_quote(word) for word in container[key])
    if container.get("ports"):
        yield "Ports", "\n".join(_port(port) for port in container["ports"])
    for label, key in (("Requests", "requests"), ("Limits", "limits")):
        if (container.get("resources") or {}).get(key):
            yield label, ", ".join(f"{name} {amount}" for name, amount in container["resources"][key].items())
    for label, key in (
        ("Startup probe", "startupProbe"),
        ("Liveness", "livenessProbe"),
        ("Readiness", "readinessProbe"),
    ):
        if key in container:
            yield label, describe_probe(container[key])
    environment = [_variable(each) for each in container.get("env") or []]
    environment += [_variables_from(each) for each in container.get("envFrom") or []]
    if environment:
        yield "Environment", "\n".join(environment)
    if container.get("volumeMounts"):
        yield "Mounts", "\n".join(_mount(mount) for mount in container["volumeMounts"])


def _state(state: Document, entry: Document, now_s: float) -> str:
    if "running" in state:
        ready = "" if not entry else ", ready" if entry.get("ready") else ", not ready"
        return f"running{ready}, since {format_when(state['running'].get('startedAt'), now_s)}"
    if "terminated" in state:
        ended = state["terminated"]
        how = f"ended with exit code {ended.get('exitCode', 0)} ({ended.get('reason') or 'Error'})"
        text = f"{how}, {format_when(ended.get('finishedAt'), now_s)}"
        return text + (f"\n{ended['message'].strip()}" if ended.get("message") else "")
    waiting = state.get("waiting") or {}
    why = ": ".join(str(waiting[key]) for key in ("reason", "message") if waiting.get(key))
    return f"waiting ({why})" if why else "waiting"


def _quote(word: str) -> str:
    import shlex

    text = clean_text(str(word))
    # Single quotes within single quotes are a riddle.
    if "'" in text and not set('"$`\\!') & set(text):
        return f'"{text}"'
    return shlex.quote(text)


def _port(port: Document) -> str:
    host = f", on the host {port.get('hostIP', '')}:{port['hostPort']}" if port.get("hostPort") else ""
    name = f" ({port['name']})" if port.get("name") else ""
    return f"{port.get('containerPort')}/{port.get('protocol', 'TCP')}{name}{host}"


def describe_probe(probe: Document) -> str:
    """``http-get http://:80/ every 10s, times out after 1s, 3 failures``."""
    if "httpGet" in probe:
        get = probe["httpGet"]
        address = f"{get.get('host', '')}:{get.get('port')}{get.get('path', '/')}"
        what = f"http-get {str(get.get('scheme', 'HTTP')).lower()}://{address}"
    elif "tcpSocket" in probe:
        what = f"tcp-socket {probe['tcpSocket'].get('host', '')}:{probe['tcpSocket'].get('port')}"
    elif "grpc" in probe:
        what = f"grpc :{probe['grpc'].get('port')} {probe['grpc'].get('service') or ''}".rstrip()
    else:
        what = "exec " + " ".join(_quote(word) for word in (probe.get("exec") or {}).get("command") or ())
    delay = f"first after {probe['initialDelaySeconds']}s, " if probe.get("initialDelaySeconds") else ""
    return (
        f"{what}, {delay}every {probe.get('periodSeconds', 10)}s, times out after {probe.get('timeoutSeconds', 1)}s,"
        f" {probe.get('successThreshold', 1)} to succeed, {probe.get('failureThreshold', 3)} to fail"
    )


def _variable(variable: Document) -> str:
    name = variable.get("name")
    if "valueFrom" not in variable:
        return f"{name}={variable.get('value', '')}"
    sources: dict[str, dict[str, Any]] = variable["valueFrom"]
    kind, source = next(iter(sources.items()), ("", {}))
    if kind in ("configMapKeyRef", "secretKeyRef"):
        what = "ConfigMap" if kind == "configMapKeyRef" else "Secret"
        optional = ", optional" if source.get("optional") else ""
        return f"{name} from key {source.get('key')} of {what} {source.get('name')}{optional}"
    place = source.get("fieldPath") or source.get("resource") or kind
    return f"{name} from {place}"


def _variables_from(source: Document) -> str:
    prefix = f", each with prefix {source['prefix']}" if source.get("prefix") else ""
    if "configMapRef" in source:
        return f"all keys of ConfigMap {source['configMapRef'].get('name')}{prefix}"
    return f"all keys of Secret {(source.get('secretRef') or {}).get('name')}{prefix}"


def _mount(mount: Document) -> str:
    mode = "ro" if mount.get("readOnly") else "rw"
    sub = mount.get("subPath") or mount.get("subPathExpr")
    return f"{mount.get('mountPath')} from {mount.get('name')}{'/' + sub if sub else ''} ({mode})"


def _volumes(spec: Document, *, colour: bool) -> Iterator[str]:
    mounted: dict[str, list[str]] = {}
    for section in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(section) or []:
            for mount in container.get("volumeMounts") or []:
                mounted.setdefault(str(mount.get("name")), []).append(str(container["name"]))
    for index, volume in enumerate(spec.get("volumes") or []):
        if not index:
            yield ""
            yield title("Volumes", colour=colour)
        kind = next((key for key in volume if key != "name"), "emptyDir")
        users = ", ".join(dict.fromkeys(mounted.get(str(volume["name"]), ()))) or "nobody mounts it"
        if kind == "projected" and str(volume["name"]).startswith(TOKEN_VOLUME):
            yield f"  {volume['name']}: the token of the pod's ServiceAccount, {users}"
            continue
        yield f"  {volume['name']}: {kind}, {users}"
        if volume.get(kind):
            yield from yaml_lines(volume[kind], indent=4)


def _rest(spec: Document, *, colour: bool) -> list[str]:
    """Every other field of the author's: nothing is hidden because this page has no words for it."""
    more = {
        key: value
        for key, value in spec.items()
        if key not in _SHOWN_OF_SPEC and _DEFAULTS.get(key) != value and value not in (None, {}, [])
    }
    tolerations = [one for one in spec.get("tolerations") or [] if not _is_default_toleration(one)]
    if tolerations:
        more["tolerations"] = tolerations
    return ["", title("Also set", colour=colour), *yaml_lines(more, indent=2)] if more else []


def _is_default_toleration(toleration: Document) -> bool:
    """One of the two that admission gives to every pod."""
    return (
        toleration.get("key") in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
        and toleration.get("effect") == "NoExecute"
        and toleration.get("tolerationSeconds") == 300
    )

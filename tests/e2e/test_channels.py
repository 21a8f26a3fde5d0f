"""What is seen of real programs: each kind of channel, attributed to the right container; each diagnosis, both ways."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.daemon import Daemon, kubectl_binary, wait_until
from harness.pods import find_events, wait_for_event

EXAMPLES = Path(__file__).parents[2] / "examples"
PYTHON = "training/webapp"

LEFT = """
import ctypes, mmap, os, signal, socket, threading, time
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
keep = []
def serve(sock):
    sock.listen(); keep.append(sock)
    threading.Thread(target=lambda: [keep.append(sock.accept()) for _ in range(9)], daemon=True).start()
tcp = socket.socket(); tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); tcp.bind(("127.0.0.1", 7000)); serve(tcp)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("0.0.0.0", 7005))
abstract = socket.socket(socket.AF_UNIX); abstract.bind("\\0chan"); serve(abstract)
named = socket.socket(socket.AF_UNIX); named.bind("/s/x.sock"); serve(named)
os.mkfifo("/s/pipe"); fifo = os.open("/s/pipe", os.O_RDWR)
data = open("/s/data", "a"); data.write("x"); data.flush()
mq = libc.mq_open(b"/q", os.O_CREAT | os.O_WRONLY, 0o666, None); libc.mq_send(mq, b"hello", 5, 0)
area = open("/dev/shm/area", "w+b"); area.truncate(8192); shared = mmap.mmap(area.fileno(), 8192); area.close()
segment = libc.shmget(0x77, 4096, 0o1666); libc.shmat.restype = ctypes.c_void_p; libc.shmat(segment, None, 0)
libc.semget(0x88, 2, 0o1666)
queue = libc.msgget(0x99, 0o1666); libc.msgsnd(queue, ctypes.create_string_buffer(b"\\1\\0\\0\\0\\0\\0\\0\\0hi"), 2, 0)
open("/s/ready", "w").close(); print("ready", flush=True)
while True: signal.pause()
"""
RIGHT = """
import ctypes, os, signal, socket, time
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while not os.path.exists("/t/ready"): time.sleep(0.02)
tcp = socket.create_connection(("127.0.0.1", 7000))
abstract = socket.socket(socket.AF_UNIX); abstract.connect("\\0chan")
named = socket.socket(socket.AF_UNIX); named.connect("/t/x.sock")
data = open("/t/data")
mq = libc.mq_open(b"/q", os.O_RDONLY)
queue = libc.msgget(0x99, 0)
buffer = ctypes.create_string_buffer(64); libc.msgrcv(queue, buffer, 56, 0, 0)
print("ready", flush=True)
libc.msgrcv(queue, buffer, 56, 0, 0)
"""
CROWD = """
import os, signal, socket, subprocess
sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(300)]
last = socket.create_server(("0.0.0.0", 7009))
print("ready", flush=True)
while True: signal.pause()
"""


def container(name: str, program: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": PYTHON, "command": ["python3", "-u", "-c", program], **more}


def start(daemon: Daemon, namespace: str, name: str, *containers: dict[str, Any], **spec: Any) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": list(containers), **spec},
    }
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))


def observe(daemon: Daemon, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.get(f"/apis/podhost.dev/v1alpha1/namespaces/{namespace}/podchannels/{name}")
    return found


def observe_until(
    daemon: Daemon, namespace: str, name: str, condition: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    last: dict[str, Any] = {}

    def look() -> bool:
        nonlocal last
        last = observe(daemon, namespace, name)
        return condition(last)

    try:
        wait_until(look, what=f"channels of {name}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {json.dumps(last, indent=1)}") from None
    return last


def ends(seen: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Channel id → (container or peer, role)."""
    return {
        channel["id"]: [
            (end.get("container") or end.get("peer"), end.get("role", "user")) for end in channel.get("ends", ())
        ]
        for channel in seen["channels"]
    }


def codes(seen: dict[str, Any]) -> set[str]:
    return {problem["code"] for problem in seen["problems"]}


def logs_ready(daemon: Daemon, namespace: str, name: str, *containers: str) -> None:
    for each in containers:
        wait_until(
            lambda each=each: "ready" in daemon.kubectl("logs", "-n", namespace, name, "-c", each, check=False).stdout,
            what=f"{name}/{each} to be ready",
        )


def test_every_kind_of_channel_belongs_to_its_containers_also_among_hundreds_of_processes(
    daemon: Daemon, namespace: str
) -> None:
    start(
        daemon,
        namespace,
        "kinds",
        container("left", LEFT, volumeMounts=[{"name": "s", "mountPath": "/s"}]),
        container("right", RIGHT, volumeMounts=[{"name": "s", "mountPath": "/t"}]),
        container("crowd", CROWD),
        volumes=[{"name": "s", "emptyDir": {}}],
    )
    logs_ready(daemon, namespace, "kinds", "left", "right", "crowd")
    seen = observe_until(
        daemon, namespace, "kinds", lambda seen: ("right", "receiver") in ends(seen).get("sysv-queue:0", [])
    )
    found = ends(seen)
    assert found["tcp:right>left:127.0.0.1:7000"] == [("right", "client"), ("left", "server")]
    assert found["unix:left:@chan"] == [("right", "client"), ("left", "server")]
    assert found["unix:left:/s/x.sock"] == [("right", "client"), ("left", "server")]
    assert found["posix-queue:/q"] == [("left", "sender"), ("right", "receiver")]
    assert found["posix-shm:/area"] == [("left", "user")]
    assert found["sysv-shm:0"] == [("left", "user")]
    assert found["sysv-semaphores:0"] == []
    assert found["sysv-queue:0"] == [("left", "sender"), ("right", "receiver")]
    assert found["volume:s"] == [("left", "writer"), ("right", "reader")]
    assert found["fifo:/s/pipe"] == [("left", "user")]
    listeners = {(one["protocol"], one["address"], one["port"]): one["container"] for one in seen["listeners"]}
    assert listeners == {
        ("tcp", "127.0.0.1", 7000): "left",
        ("udp", "*", 7005): "left",
        ("tcp", "*", 7009): "crowd",
    }
    processes = {each["name"]: len(each["processes"]) for each in seen["containers"]}
    assert processes == {"left": 1, "right": 1, "crowd": 301}
    assert seen["gaps"] == []
    assert codes(seen) == set(), "a healthy pod has no problem"


def test_mc2_is_seen_while_it_runs(daemon: Daemon) -> None:
    daemon.kubectl("apply", "-f", str(EXAMPLES / "mc2"))
    try:
        both = [("producer", "sender"), ("consumer", "receiver")]
        seen = observe_until(daemon, "default", "mc2", lambda seen: ends(seen).get("sysv-queue:0") == both)
        assert seen["channels"][0]["facts"]["key"] == "0x6970630a"
    finally:
        daemon.kubectl("delete", "pod", "mc2", "--grace-period=1", "--timeout=60s")


def test_a_service_on_a_loopback_listener_is_found_in_mc3_and_the_good_one_is_not(
    daemon: Daemon, namespace: str
) -> None:
    daemon.kubectl("apply", "-n", namespace, "-f", str(EXAMPLES / "mc3"))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/mc3", "--timeout=60s")
    daemon.kubectl("expose", "-n", namespace, "pod", "mc3", "--port=80", "--name=good")
    observe_until(daemon, namespace, "mc3", lambda seen: len(seen["listeners"]) == 2 and not codes(seen))
    daemon.kubectl("expose", "-n", namespace, "pod", "mc3", "--port=5000", "--name=wrong")
    seen = observe(daemon, namespace, "mc3")
    assert codes(seen) == {"service-target-on-loopback"}
    assert f"{namespace}/wrong" in seen["problems"][0]["message"]

    wide = daemon.kubectl("get", "podchannels", "mc3", "-n", namespace, "-o", "wide").stdout
    assert "nginx=tcp:*:80" in wide
    assert "service-target-on-loopback" in wide
    drawn = daemon.podhost("channels", "mc3", "-n", namespace, "--width", "120").stdout
    assert "on tcp 127.0.0.1:5000" in drawn
    assert "✗ Service" in drawn
    assert daemon.podhost("diagnose", "mc3", "-n", namespace, check=False).returncode == 1
    ports = daemon.podhost("ports", "mc3", "-n", namespace).stdout.splitlines()
    assert [line.split()[:4] for line in ports[1:]] == [
        ["nginx", "TCP", "*", "80"],
        ["webapp", "TCP", "127.0.0.1", "5000"],
    ]


def test_a_container_that_fails_for_a_port_gets_an_event_that_names_the_holder(daemon: Daemon, namespace: str) -> None:
    wait = "import os, time\nwhile not os.path.exists('/v/ready'): time.sleep(0.02)\n"
    server = "import socket, time\ns = socket.create_server(('0.0.0.0', 8080))\n"
    mounts = [{"name": "v", "mountPath": "/v"}]
    start(
        daemon,
        namespace,
        "clash",
        container("first", server + "open('/v/ready', 'w').close()\ntime.sleep(600)", volumeMounts=mounts),
        container("second", wait + server, volumeMounts=mounts),
        volumes=[{"name": "v", "emptyDir": {}}],
        restartPolicy="Never",
    )  # fmt: skip
    message = wait_for_event(daemon, namespace, "clash", "PortInUse", "8080")
    assert message.startswith('container "second" wants port 8080, which container "first" (process python3, pid ')
    assert codes(observe(daemon, namespace, "clash")) == {"port-in-use"}


def test_a_container_that_fails_for_another_reason_gets_no_such_event(daemon: Daemon, namespace: str) -> None:
    server = "import socket, time\ns = socket.create_server(('0.0.0.0', 8080))\ntime.sleep(600)"
    start(
        daemon, namespace, "fails", container("first", server), container("second", "raise SystemExit(3)"),
        restartPolicy="Never",
    )  # fmt: skip
    daemon.kubectl(
        "wait", "-n", namespace, "pod/fails", "--timeout=60s",
        "--for=jsonpath={.status.containerStatuses[1].state.terminated.exitCode}=3",
    )  # fmt: skip
    observe(daemon, namespace, "fails")
    assert "PortInUse" not in [reason for _, reason, _ in find_events(daemon, namespace, "fails")]


def test_each_problem_of_a_sick_pod_is_found(daemon: Daemon, namespace: str) -> None:
    one = """
import ctypes, os, signal
libc = ctypes.CDLL(None)
shared = open("/both/file", "a"); alone = open("/own/file", "w")
queue = libc.msgget(0x5, 0o1666); libc.msgsnd(queue, ctypes.create_string_buffer(b"\\1\\0\\0\\0\\0\\0\\0\\0hi"), 2, 0)
print("ready", flush=True)
while True: signal.pause()
"""
    two = """
import signal
shared = open("/both/file", "a")
try: open("/fixed/file", "w")
except OSError as error: print(error)
print("ready", flush=True)
while True: signal.pause()
"""
    both = {"name": "both", "mountPath": "/both"}
    start(
        daemon,
        namespace,
        "sick",
        container(
            "one", one, volumeMounts=[both, {"name": "own", "mountPath": "/own"}], ports=[{"containerPort": 9999}]
        ),
        container(
            "two",
            two,
            volumeMounts=[both, {"name": "fixed", "mountPath": "/fixed", "readOnly": True}],
            readinessProbe={"tcpSocket": {"port": 9998}},
        ),
        container("three", "import os; os.mkfifo('/both/lonely'); open('/both/lonely')", volumeMounts=[both]),
        volumes=[{"name": name, "emptyDir": {}} for name in ("both", "own", "fixed")],
    )
    logs_ready(daemon, namespace, "sick", "one", "two")
    seen = observe_until(daemon, namespace, "sick", lambda seen: "fifo-without-partner" in codes(seen))
    assert ends(seen)["fifo:/both/lonely"] == [("three", "receiver")]
    assert codes(seen) == {
        "fifo-without-partner",
        "port-not-served",
        "probe-port-not-served",
        "queue-not-read",
        "volume-not-shared",
        "file-written-twice",
        "write-to-read-only-mount",
    }
    assert all(problem["evidence"] for problem in seen["problems"])


def test_a_reader_of_a_queue_that_nobody_makes_is_found_and_one_that_was_made_is_not(
    daemon: Daemon, namespace: str
) -> None:
    asking = "import ctypes, time\nlibc = ctypes.CDLL(None)\nprint('ready', flush=True)\n"
    start(
        daemon, namespace, "lonely",
        container("reader", asking + "while libc.msgget(0x77, 0) < 0: time.sleep(0.05)\ntime.sleep(600)"),
        container("maker", asking + "libc.msgget(0x88, 0o1666)\nwhile libc.msgget(0x88, 0) >= 0: time.sleep(0.05)"),
    )  # fmt: skip
    logs_ready(daemon, namespace, "lonely", "reader", "maker")
    assert "ipc-object-missing" not in codes(observe(daemon, namespace, "lonely"))
    told = daemon.podhost("diagnose", "lonely", "-n", namespace, check=False)
    assert told.returncode == 1
    assert "again and again for the System V queue 0x00000077, which nobody has made" in " ".join(told.stdout.split())
    assert "0x00000088" not in told.stdout
    path = f"/apis/podhost.dev/v1alpha1/namespaces/{namespace}/podchannels/lonely?traceSeconds=11"
    with pytest.raises(RuntimeError, match="traceSeconds must be a number from 0 to 10, not '11'"):
        daemon.get(path)


def test_peers_of_other_pods_are_named_also_through_a_service(daemon: Daemon, namespace: str) -> None:
    server = """
import signal, socket
s = socket.create_server(("0.0.0.0", 8000)); kept = []
while True: kept.append(s.accept())
"""
    start(daemon, namespace, "server", container("s", server))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/server", "--timeout=60s")
    daemon.kubectl("expose", "-n", namespace, "pod", "server", "--port=9000", "--target-port=8000", "--name=svc")
    address = daemon.get(f"/api/v1/namespaces/{namespace}/services/svc")["spec"]["clusterIP"]
    client = f"""
import socket, time
while True:
    try: s = socket.create_connection(("{address}", 9000), 1); break
    except OSError: time.sleep(0.05)
time.sleep(600)
"""
    start(daemon, namespace, "client", container("c", client))
    to_service = [("c", "client"), (f"service {namespace}/svc", "server")]
    observe_until(daemon, namespace, "client", lambda seen: to_service in ends(seen).values())
    from_pod = [(f"pod {namespace}/client", "client"), ("s", "server")]
    observe_until(daemon, namespace, "server", lambda seen: from_pod in ends(seen).values())


def test_a_shared_process_namespace_and_commands_run_by_exec_are_seen(daemon: Daemon, namespace: str) -> None:
    start(
        daemon, namespace, "shared", container("a", "import time; time.sleep(600)"),
        container("b", "import time; time.sleep(600)"), shareProcessNamespace=True,
    )  # fmt: skip
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/shared", "--timeout=60s")
    program = "import socket, subprocess; s = socket.create_server(('', 6000)); subprocess.run(['sleep', '600'])"
    argv = [kubectl_binary(), "exec", "-n", namespace, "shared", "-c", "b", "--", "python3", "-c", program]
    with subprocess.Popen(argv, env=daemon.environment(), stderr=subprocess.DEVNULL) as running:
        seen = observe_until(
            daemon,
            namespace,
            "shared",
            lambda seen: {"sleep", "python3"} == {each["name"] for each in seen["containers"][1].get("processes", ())},
        )
        running.kill()
    assert [(one["container"], one["port"]) for one in seen["listeners"]] == [("b", 6000)]
    sleep = next(each for each in seen["containers"][1]["processes"] if each["name"] == "sleep")
    parent = next(each for each in seen["containers"][1]["processes"] if each["pid"] == sleep["parent"])
    assert "create_server" in parent["command"]
    assert ends(seen)["pid-namespace"] == [("a", "user"), ("b", "user")]


def test_a_watch_tells_of_pods_that_come_change_and_go(daemon: Daemon, namespace: str) -> None:
    events: list[tuple[str, int]] = []

    def watch() -> None:
        path = f"/apis/podhost.dev/v1alpha1/namespaces/{namespace}/podchannels?watch=true&timeoutSeconds=15"
        for line in daemon.request("GET", path).splitlines():
            event = json.loads(line)
            events.append((event["type"], len(event["object"]["listeners"])))

    thread = threading.Thread(target=watch)
    thread.start()
    start(daemon, namespace, "w", container("c", "import time; time.sleep(600)"))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/w", "--timeout=60s")
    daemon.kubectl("delete", "-n", namespace, "pod", "w", "--grace-period=0", "--force", "--timeout=60s")
    thread.join()
    kinds = [kind for kind, _ in events]
    assert kinds[0] == "ADDED"
    assert "MODIFIED" in kinds
    assert kinds[-1] == "DELETED"

"""Failed look-ups of IPC objects, as the real kernel shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from podhost.linux import syscall_trace
from podhost.linux.mount import open_detached

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="tracing needs root")

ASKING = """
import ctypes, threading, time
libc = ctypes.CDLL(None)
def ask():
    print("ready", flush=True)
    while True: libc.msgget(0x1234, 0); libc.mq_open(b"/nobody", 0); libc.msgget(0x4321, 0o1600); time.sleep(0.02)
threading.Thread(target=ask).start()
"""


def list_instances() -> set[str]:
    with open_detached("tracefs") as root_fd:
        return {name for name in syscall_trace._list(root_fd, "instances") if name.startswith("podhost-")}


def test_who_asks_for_missing_objects_is_seen_and_nothing_of_the_trace_stays() -> None:
    with subprocess.Popen([sys.executable, "-c", ASKING], stdout=subprocess.PIPE) as asking:
        try:
            assert asking.stdout is not None
            asking.stdout.readline()
            found = {
                (each.call, each.key, each.name): each.count
                for each in syscall_trace.observe_missed_lookups(0.5)
                if each.pid == asking.pid
            }
        finally:
            asking.kill()
    assert set(found) == {("msgget", 0x1234, ""), ("mq_open", 0, "/nobody")}
    assert min(found.values()) > 1
    assert f"podhost-{os.getpid()}" not in list_instances()


def test_the_trace_of_a_process_that_was_killed_is_removed_and_that_of_a_living_one_is_not() -> None:
    with subprocess.Popen(["sleep", "60"]) as living:
        gone = subprocess.Popen(["true"])
        gone.wait()
        names = {f"podhost-{living.pid}", f"podhost-{gone.pid}"}
        with open_detached("tracefs") as root_fd:
            for name in names:
                os.mkdir(f"instances/{name}", dir_fd=root_fd)
            try:
                assert not Path(f"/proc/{gone.pid}").exists()
                syscall_trace.remove_stale_traces()
                assert list_instances() & names == {f"podhost-{living.pid}"}
            finally:
                syscall_trace._remove_instance(root_fd, f"podhost-{living.pid}")
                living.kill()

"""The port that a container could not have, and what each container that fails costs the daemon."""

from __future__ import annotations

import subprocess
import sys

import pytest

from podhost.channels.wanted_port import find_configured_ports, find_wanted_port


@pytest.mark.parametrize(
    ("lines", "ports"),
    [
        (("listen tcp :8080: bind: address already in use",), (8080,)),
        (("Error: listen EADDRINUSE: address already in use 0.0.0.0:3000",), (3000,)),
        (("could not bind to port 5432", "Address already in use"), (5432,)),
        (("[Errno 98] Address already in use",), ()),
    ],
)
def test_the_port_is_read_from_what_programs_say(lines: tuple[str, ...], ports: tuple[int, ...]) -> None:
    found = find_wanted_port(lines)
    assert found is not None
    assert found[1] == ports


def test_a_log_without_a_complaint_wants_no_port() -> None:
    assert find_wanted_port(("listening on :8080",)) is None


@pytest.mark.parametrize(
    ("container", "ports"),
    [
        ({}, ()),
        ({"command": ["python3", "-m", "http.server"], "args": ["8000"]}, (8000,)),
        ({"args": ["--port=8000", "--bind", "0.0.0.0:8001", "-p8002", "--listen", "[::]:8003", ":8004"]}, (8000, 8001, 8002, 8003, 8004)),
        ({"command": ["sh", "-c", "sleep 1; nc -l 80 & exec server --addr='*:443'"]}, (1, 80, 443)),
        ({"args": ["s.bind(('0.0.0.0', 8080))", "http://localhost:90/path"]}, (8080, 90)),
        ({"args": ["v2", "127.0.0.1", "3.11", "10s", "file8080", "2026-01-01", "70000", "0", "100000"]}, ()),
        ({"env": [{"name": "PORT", "value": "8080"}, {"name": "N", "value": "x 90"}, {"name": "F", "valueFrom": {}}]}, (8080,)),
    ],
)  # fmt: skip
def test_ports_that_a_container_is_set_up_with_are_found(container: dict[str, object], ports: tuple[int, ...]) -> None:
    assert find_configured_ports(container) == ports


def test_a_container_that_fails_does_not_have_the_diagnosis_loaded() -> None:
    code = "import sys, podhost.channels.observer; print(*sorted(n for n in sys.modules if n.startswith('podhost.channels.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"podhost.channels.{name}" for name in ("log_tail", "observer", "wanted_port")]

"""The audit log's queue: nobody waits for the disk, and nothing is lost without a word."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from podhost.apiserver.audit_log import AuditLog


def test_events_are_written_in_order_and_all_of_them_before_the_end() -> None:
    written: list[bytes] = []
    log = AuditLog(written.append)
    log.start()
    for number in range(2000):
        log.record({"number": number})
    log.close()
    lines = b"".join(written).splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(2000))


def test_a_slow_disk_costs_events_and_no_time(caplog: pytest.LogCaptureFixture) -> None:
    taken, go_on = threading.Event(), threading.Event()
    written: list[bytes] = []

    def write(data: bytes) -> None:
        taken.set()
        go_on.wait(20)
        written.append(data)

    log = AuditLog(write, capacity=3)
    log.start()
    log.record({"number": 0})
    assert taken.wait(20)
    with caplog.at_level(logging.WARNING):
        for number in range(1, 10):
            log.record({"number": number})
        go_on.set()
        log.close()
    assert [json.loads(line)["number"] for line in b"".join(written).splitlines()] == [0, 1, 2, 3]
    assert [record.message for record in caplog.records] == [
        "the audit log cannot keep up: events are dropped",
        "the audit log has dropped 6 events",
    ]


def test_a_full_disk_is_said_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    written: list[bytes] = []
    failures = [OSError("no space left")]

    def write(data: bytes) -> None:
        if failures:
            raise failures.pop()
        written.append(data)

    log = AuditLog(write)
    log.record({"number": 0})
    log._run_once()
    log.record({"number": 1})
    log._run_once()
    assert written == [b'{"number":1}\n']
    assert [record.message for record in caplog.records] == ["cannot write the audit log: no space left"]

"""Counters of network interfaces."""

from __future__ import annotations

from pathlib import Path

from podhost.linux.interface_counters import InterfaceCounters, read_interface_counters

TEXT = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1234       10    0    0    0     0          0         0     1234      10    0    0    0     0       0          0
  eth0:98765432101 100    3    0    0     0          0         0     5678      50    4    0    0     0       0          0
"""


def test_bytes_and_errors_are_read_and_loopback_left_out(tmp_path: Path) -> None:
    file = tmp_path / "dev"
    file.write_text(TEXT)
    assert read_interface_counters(file) == [
        InterfaceCounters(
            name="eth0", received_bytes=98765432101, receive_errors=3, sent_bytes=5678, send_errors=4
        )
    ]  # fmt: skip


def test_process_that_is_gone_has_no_interfaces(tmp_path: Path) -> None:
    assert read_interface_counters(tmp_path / "dev") == []

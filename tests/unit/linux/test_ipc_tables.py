"""The kernel's tables as text, parsed."""

from __future__ import annotations

from podhost.linux.ipc_tables import parse_posix_state, parse_queues, parse_segments, parse_semaphores

MSG = """\
       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime
1768973066          0   600          64          2  4711  4712     0     0     0     0 1700000000 1700000001 1700000000
       -16          1   644           0          0     0     0  1000  1000  1000  1000          0          0 1700000000
"""
SHM = """\
       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap
         0          3  1600               1048576   100   101      2     0     0     0     0          0          0          0                  4096                     0
"""
SEM = """\
       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime
       255          0   666          3     0     0     0     0          0 1700000000
"""


def test_queues_have_their_last_sender_and_receiver() -> None:
    first, second = parse_queues(MSG)
    assert (first.key, first.id, first.mode, first.bytes, first.messages) == (0x6970630A, 0, 0o600, 64, 2)
    assert (first.last_sender, first.last_receiver, first.sent_at_s) == (4711, 4712, 1700000000)
    assert second.key == 0xFFFFFFF0, "keys are unsigned for people"


def test_segments_and_semaphores_are_read_by_the_names_of_the_columns() -> None:
    (segment,) = parse_segments(SHM)
    assert (segment.size_bytes, segment.creator, segment.attached) == (1048576, 100, 2)
    (semaphores,) = parse_semaphores(SEM)
    assert (semaphores.key, semaphores.count, semaphores.mode) == (255, 3, 0o666)


def test_a_kernel_without_system_v_has_no_tables() -> None:
    assert parse_queues("") == []


def test_the_state_of_a_posix_queue_is_read() -> None:
    text = "QSIZE:129        NOTIFY:2     SIGNO:0     NOTIFY_PID:8260\n"
    assert parse_posix_state(text) == {"QSIZE": 129, "NOTIFY": 2, "SIGNO": 0, "NOTIFY_PID": 8260}

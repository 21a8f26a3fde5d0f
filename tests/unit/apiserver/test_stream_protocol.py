"""The channel protocols of exec and attach."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.apiserver import stream_protocol as protocol
from podhost.apiserver.stream_protocol import ChannelError, Resize, StdinData, StdinEnd, decode_message


def test_stdin_travels_on_channel_0() -> None:
    assert decode_message(protocol.V5, b"\x00hello") == StdinData(b"hello")


@pytest.mark.parametrize("message", [b"", b"\x00", b"\x01out", b"\x02err", b"\x03{}", b"\x09x"])
def test_messages_that_mean_nothing_are_ignored(message: bytes) -> None:
    assert decode_message(protocol.V5, message) is None


def test_v5_client_ends_stdin() -> None:
    assert decode_message(protocol.V5, b"\xff\x00") == StdinEnd()
    assert decode_message(protocol.V5, b"\xff\x04") is None


def test_v4_knows_no_close() -> None:
    assert decode_message(protocol.V4, b"\xff\x00") is None


def test_malformed_close_is_refused() -> None:
    with pytest.raises(ChannelError, match="close"):
        decode_message(protocol.V5, b"\xff\x00\x00")


def test_terminal_size() -> None:
    assert decode_message(protocol.V4, b'\x04{"Width":80,"Height":24}') == Resize(80, 24)


@pytest.mark.parametrize("size", [b'{"Width":0,"Height":0}', b"{}", b'{"Width":-1,"Height":70000}'])
def test_impossible_sizes_are_ignored(size: bytes) -> None:
    assert decode_message(protocol.V4, b"\x04" + size) is None


@pytest.mark.parametrize("size", [b"", b"[]", b'{"Width":"x"}'])
def test_unreadable_size_is_refused(size: bytes) -> None:
    with pytest.raises(ChannelError, match="terminal size"):
        decode_message(protocol.V4, b"\x04" + size)


def test_output_is_marked_by_its_channel() -> None:
    assert protocol.encode_output("stdout", b"a") == b"\x01a"
    assert protocol.encode_output("stderr", b"a") == b"\x02a"


@pytest.mark.parametrize(
    ("stdout", "stderr", "channel"), [(True, True, 1), (False, True, 2), (False, False, 3), (True, False, 1)]
)
def test_greeting_goes_to_the_lowest_open_channel(stdout: bool, stderr: bool, channel: int) -> None:
    assert protocol.encode_greeting(stdout=stdout, stderr=stderr) == bytes([channel])


def test_success_is_a_bare_status() -> None:
    text = protocol.encode_status_text(protocol.V4, protocol.build_exit_status(0))
    assert msgspec.json.decode(text) == {"metadata": {}, "status": "Success"}


def test_before_v4_the_status_is_plain_text_and_only_of_failures() -> None:
    assert protocol.encode_status_text("v3.channel.k8s.io", protocol.build_exit_status(0)) == b""
    text = protocol.encode_status_text("channel.k8s.io", protocol.build_exit_status(3))
    assert text == b"command terminated with non-zero exit code: exit status 3"


def test_exit_code_is_a_cause() -> None:
    status = protocol.build_exit_status(42)
    assert (status["status"], status["reason"]) == ("Failure", "NonZeroExitCode")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "42"}]


@given(st.sampled_from(protocol.PROTOCOLS), st.binary(max_size=64))
def test_no_message_makes_the_decoder_fail_otherwise(chosen: str, message: bytes) -> None:
    try:
        decode_message(chosen, message)
    except ChannelError:
        pass

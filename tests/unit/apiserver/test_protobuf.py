"""Kubernetes' protobuf bodies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.api.errors import ApiError
from podhost.apiserver.protobuf import decode_body


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def body(version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\x00" + field(1, field(1, version.encode()) + field(2, kind.encode())) + field(2, raw)


def test_namespace_as_kubectl_sends_it() -> None:
    sent = (
        b"k8s\x00\n\x0f\n\x02v1\x12\tNamespace\x12\x1c\n\x14\n\x04team\x12\x00\x1a\x00"
        b'"\x00*\x002\x008\x00B\x00\x12\x00\x1a\x02\n\x00\x1a\x00"\x00'
    )
    document = decode_body(sent)
    assert (document["kind"], document["apiVersion"]) == ("Namespace", "v1")
    assert document["metadata"] == {"name": "team"}


def test_zero_values_go_where_go_omits_them_and_stay_where_it_does_not() -> None:
    port = field(1, b"") + field(3, 0) + field(4, field(1, 0) + field(2, 8080)) + field(5, 0)
    document = decode_body(body("v1", "Service", field(2, field(1, port))))
    assert document["spec"]["ports"] == [{"port": 0, "targetPort": 8080}]


def test_named_target_port_and_negative_number() -> None:
    port = field(3, -1) + field(4, field(1, 1) + field(3, b"http"))
    document = decode_body(body("v1", "Service", field(2, field(1, port))))
    assert document["spec"]["ports"] == [{"port": -1, "targetPort": "http"}]


def test_maps_of_text_and_of_bytes() -> None:
    data = field(2, field(1, b"k") + field(2, b"\x00\xff")) + field(4, field(1, b"s") + field(2, b"text"))
    document = decode_body(body("v1", "Secret", data + field(2, field(1, b"empty"))))
    assert document["data"] == {"k": "AP8=", "empty": ""}
    assert document["stringData"] == {"s": "text"}


def test_inlined_structs_are_the_parents_fields() -> None:
    volume = field(1, b"v") + field(2, field(2, field(1, b"Memory")))
    limits = field(1, field(1, b"cpu") + field(2, field(1, b"100m")))
    container = field(1, b"c") + field(8, limits)
    pod = field(2, field(1, volume) + field(2, container) + field(4, 0))
    spec = decode_body(body("v1", "Pod", pod))["spec"]
    assert spec["volumes"] == [{"name": "v", "emptyDir": {"medium": "Memory"}}]
    assert spec["containers"] == [{"name": "c", "resources": {"limits": {"cpu": "100m"}}}]
    assert spec["terminationGracePeriodSeconds"] == 0


def test_times() -> None:
    metadata = field(1, field(1, b"e") + field(8, field(1, 1_795_000_000)))
    document = decode_body(body("v1", "ConfigMap", metadata))
    assert document["metadata"]["creationTimestamp"] == "2026-11-18T11:06:40Z"


def test_delete_options_of_any_group() -> None:
    raw = field(1, 0) + field(2, field(1, b"uid-1")) + field(5, b"All")
    document = decode_body(body("discovery.k8s.io/v1", "DeleteOptions", raw))
    assert document["gracePeriodSeconds"] == 0
    assert document["preconditions"] == {"uid": "uid-1"}
    assert document["dryRun"] == ["All"]


def test_fields_of_a_newer_version_are_ignored() -> None:
    raw = field(900, b"new") + field(901, 7) + varint(902 << 3 | 1) + b"12345678" + field(1, field(1, b"a"))
    assert decode_body(body("v1", "ConfigMap", raw))["metadata"] == {"name": "a"}


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"{}", "expected prefix"),
        (b"k8s\x00\xff", "ends within a number"),
        (b"k8s\x00" + b"\xff" * 11, "more than ten bytes"),
        (body("v1", "ConfigMap", b"\x0a\x7fx"), "longer than its message"),
        (body("v1", "ConfigMap", field(1, 7)), "bytes were expected"),
        (body("v1", "Service", field(2, field(1, field(3, b"x")))), "a number was expected"),
        (body("v1", "ConfigMap", b"\x0b"), "wire type 3"),
        (body("v9", "Nonsense", b""), 'no kind "Nonsense" is registered'),
    ],
)
def test_what_cannot_be_decoded_is_a_bad_request(sent: bytes, words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        decode_body(sent)
    assert caught.value.code == 400


@given(st.sampled_from(["Pod", "Service", "Secret", "Event"]), st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(kind: str, raw: bytes) -> None:
    code = 0
    try:
        decode_body(body("v1", kind, raw))
    except ApiError as error:
        code = error.code
    assert code in (0, 400)

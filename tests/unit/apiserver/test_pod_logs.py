"""``PodLogOptions`` from the query: Kubernetes' rules and texts."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from podhost.api.errors import ApiError
from podhost.apiserver.authn import ADMIN
from podhost.apiserver.call import Call
from podhost.apiserver.pod_logs import read_log_options
from podhost.apiserver.routing import Route
from podhost.cri.node import LogOptions

NOW_NS = 1_800_000_000_000_000_000


async def handler(call: Call) -> web.StreamResponse:
    raise NotImplementedError


def read(query: str) -> LogOptions:
    route = Route(method="GET", pattern="/", verb="get", handler=handler)
    call = Call(make_mocked_request("GET", f"/?{query}"), route, {"name": "web"}, ADMIN)
    return read_log_options(call, NOW_NS)


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", LogOptions()),
        ("follow=true&previous=1&timestamps=yes", LogOptions(follow=True, previous=True, timestamps=True)),
        ("follow&previous=0&timestamps=False", LogOptions(follow=True)),
        ("tailLines=0", LogOptions(tail_lines=0)),
        ("limitBytes=1", LogOptions(limit_bytes=1)),
        ("sinceSeconds=10", LogOptions(since_ns=NOW_NS - 10_000_000_000)),
        ("sinceTime=2027-01-15T08:00:00Z", LogOptions(since_ns=NOW_NS)),
        ("sinceTime=2027-01-15T09:00:00.5%2B01:00", LogOptions(since_ns=NOW_NS + 500_000_000)),
        ("stream=Stderr", LogOptions(stream="Stderr")),
        ("stream=All&tailLines=5", LogOptions(tail_lines=5)),
        ("insecureSkipTLSVerifyBackend=true&pretty=1&whatever=x", LogOptions()),
    ],
)
def test_options(query: str, options: LogOptions) -> None:
    assert read(query) == options


EXCLUSIVE = "`tailLines` and specific `stream` are mutually exclusive for now"
BOTH = "at most one of `sinceTime` or `sinceSeconds` may be specified"


@pytest.mark.parametrize(
    ("query", "problems"),
    [
        ({"tailLines": "-1"}, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"limitBytes": "0"}, "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "0"}, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "0", "sinceTime": "2027-01-15T08:00:00Z"}, f"[]: Forbidden: {BOTH}"),
        ({"stream": "Stdout", "tailLines": "1"}, f"[]: Forbidden: {EXCLUSIVE}"),
        ({"stream": "stdout"}, 'stream: Unsupported value: "stdout": supported values: "All", "Stderr", "Stdout"'),
        (
            {"tailLines": "-1", "limitBytes": "-5"},
            "[tailLines: Invalid value: -1: must be greater than or equal to 0, "
            "limitBytes: Invalid value: -5: must be greater than 0]",
        ),
    ],
)
def test_all_that_is_wrong_is_told_at_once(query: dict[str, str], problems: str) -> None:
    with pytest.raises(ApiError) as caught:
        read(urlencode(query))
    assert caught.value.code == 422
    assert caught.value.message == f'PodLogOptions "web" is invalid: {problems}'


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tailLines=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("tailLines=1_0", 'strconv.ParseInt: parsing "1_0": invalid syntax'),
        ("tailLines=9223372036854775808", 'strconv.ParseInt: parsing "9223372036854775808": value out of range'),
        (f"tailLines={'9' * 5000}", f'strconv.ParseInt: parsing "{"9" * 5000}": value out of range'),
        ("limitBytes=1.5", 'strconv.ParseInt: parsing "1.5": invalid syntax'),
        (
            "sinceTime=yesterday",
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
        ),
    ],
)
def test_what_cannot_be_read_is_a_bad_request(query: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        read(query)
    assert (caught.value.code, caught.value.message) == (400, message)

"""Links of pages that come through the proxy."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.apiserver import html_links
from podhost.apiserver.html_links import LinkRewriter
from podhost.apiserver.proxy_headers import rewrite_url


def through_proxy(link: str) -> str:
    return rewrite_url(link, prefix="/p", source="10.0.0.1:80", host="api")


def rewrite(page: bytes, *, size: int = 1 << 20) -> bytes:
    links = LinkRewriter(through_proxy)
    return b"".join(links.feed(page[at : at + size]) for at in range(0, len(page), size)) + links.end()


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('<a href="/x">', '<a href="/p/x">'),
        ("<A HREF=/x Class='b'>t</A>", '<a href="/p/x" class="b">t</A>'),
        ('<a\n href = "/x"\n>\n<img src=/y />', '<a href="/p/x">\n<img src="/p/y"/>'),
        ('<a href="x">', '<a href="x">'),
        ('<a href="/p/x">', '<a href="/p/x">'),
        ('<a href="http://elsewhere/x">', '<a href="http://elsewhere/x">'),
        ('<a href="http://10.0.0.1:80/x?a=b&amp;c#d">', '<a href="/p/x?a=b&amp;c#d">'),
        ('<a href="http://api/x">', '<a href="http://api/p/x">'),
        ('<a title="/x" href>', '<a title="/x" href>'),
        ('<a href="/x" title="&quot;é&lt;" download>', '<a href="/p/x" title="&quot;é&lt;" download>'),
        ("<video poster='/a' src='/b'>", '<video poster="/p/a" src="/p/b">'),
        ("<form action=/a><button formaction=/b>", '<form action="/p/a"><button formaction="/p/b">'),
        ('<div href="/x">', '<div href="/x">'),
        ('<!-- <a href="/x"> -->', '<!-- <a href="/x"> -->'),
        ("<script>if (a<b) '<a href=\"/x\">'</script><a href='/y'>", None),
        ("<script src='/x.js'></script>", '<script src="/p/x.js"></script>'),
        ("&amp; &x 1 < 2 <3 </ a> <", "&amp; &x 1 < 2 <3 </ a> <"),
        ('<![if gte mso 9]><a href="/x"><![endif]>', '<![if gte mso 9]><a href="/p/x"><![endif]>'),
        ("<!DOCTYPE html>\r\n<html>\r\n<a href='/x'\r\n>\r\n", '<!DOCTYPE html>\r\n<html>\r\n<a href="/p/x">\r\n'),
        ('<a href="/x', '<a href="/x'),
    ],
)
def test_links_of_the_pod_lead_through_the_proxy_and_nothing_else_changes(page: str, expected: str | None) -> None:
    if expected is None:
        expected = page.replace("<a href='/y'>", '<a href="/p/y">')
    for size in (1, 2, 7, 1 << 20):
        assert rewrite(page.encode(), size=size).decode() == expected


TOKENS = (
    *("<a href='/x'>", "<img src=/y", ">", "<", "</", "<!--", "-->", "<!", "<?", "<![", "]]>", "<script>"),
    *("</script>", "&", ";", '"', "'", "=", "/", "\n", "\r\n", " ", "a", "\0", "é", "<b", "<svg/>"),
)
MARKUP = st.lists(
    st.one_of(
        st.sampled_from(TOKENS),
        st.text(max_size=3),
    ),
    max_size=30,
).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))


@given(page=st.one_of(MARKUP, st.binary(max_size=60)), size=st.integers(1, 9))
def test_a_page_without_links_of_the_pod_comes_out_byte_for_byte(page: bytes, size: int) -> None:
    links = LinkRewriter(lambda link: link)
    out = b"".join(links.feed(page[at : at + size]) for at in range(0, len(page), size)) + links.end()
    assert out == page


def test_what_is_not_text_passes() -> None:
    page = b"\xff\xfe<a href='/\xe9'>\x80"
    assert rewrite(page, size=3) == b'\xff\xfe<a href="/p/\xe9">\x80'


def test_a_construct_without_end_is_not_kept() -> None:
    links = LinkRewriter(through_proxy)
    piece = b"<!-- " * (html_links.MAX_PENDING_CHARS // 50)
    kept = 0
    for _ in range(30):
        kept += len(piece) - len(links.feed(piece))
        assert kept <= html_links.MAX_PENDING_CHARS
    assert kept == 0
    assert links.end() == b""


@pytest.mark.parametrize("start", ["<!--", "<![", "<a ", "<a b='", "</", "<?", "<!x", "&", "<script><", "<a href=/ "])
def test_no_page_takes_long(start: str) -> None:
    page = start.encode() * (400_000 // len(start))
    begin = time.process_time()
    rewrite(page, size=16 << 10)
    assert time.process_time() - begin < 5, "0.2 s on a quiet machine; quadratic would be minutes"

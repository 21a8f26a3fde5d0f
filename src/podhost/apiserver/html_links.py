"""Links of HTML pages, rewritten as the page comes.  Pure: bytes in, bytes out, bounded memory.

The standard library's parser finds the tags; what is not a link goes out byte for byte as it came in.  The parser is
never told that the page has ended: its treatment of what is left then takes quadratic time, and a pod must not be able
to hold up the daemon.  What is left goes out as it is.
"""

from __future__ import annotations

import codecs
import html
from collections.abc import Callable
from html.parser import HTMLParser

MAX_PENDING_CHARS = 1 << 20
"""Of a tag, comment or script that does not end; behind a longer one links stay as they are."""

_LINKS = {
    "a": ("href",),
    "applet": ("codebase",),
    "area": ("href",),
    "audio": ("src",),
    "base": ("href",),
    "blockquote": ("cite",),
    "body": ("background",),
    "button": ("formaction",),
    "command": ("icon",),
    "del": ("cite",),
    "embed": ("src",),
    "form": ("action",),
    "frame": ("longdesc", "src"),
    "head": ("profile",),
    "html": ("manifest",),
    "iframe": ("longdesc", "src"),
    "img": ("longdesc", "src", "usemap"),
    "input": ("src", "usemap", "formaction"),
    "ins": ("cite",),
    "link": ("href",),
    "object": ("classid", "codebase", "data", "usemap"),
    "q": ("cite",),
    "script": ("src",),
    "source": ("src",),
    "video": ("poster", "src"),
}
"""Attributes that hold a URL, by tag: those that kube-apiserver knows."""

Rewrite = Callable[[str], str]
Attributes = list[tuple[str, str | None]]


class LinkRewriter:
    """Feed it the page piece by piece; what comes back has its links rewritten."""

    def __init__(self, rewrite: Rewrite) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._tags = _TagFinder(rewrite)
        self._gave_up = False

    def feed(self, data: bytes) -> bytes:
        text = self._decoder.decode(data)
        if self._gave_up:
            return _encode(text)
        done = self._tags.take(text)
        if self._tags.is_lost:
            self._gave_up = True
            done += self._tags.rest()
        return _encode(done)

    def end(self) -> bytes:
        """What is left at the end of the page."""
        rest = self._decoder.decode(b"", final=True)
        return _encode(rest if self._gave_up else self._tags.rest() + rest)


class _TagFinder(HTMLParser):
    """Copies the text, with start tags replaced whose links change.

    The parser tells lines and columns; ``_text`` is what it has got and has not been copied, and begins at
    ``_line`` and ``_column``.
    """

    def __init__(self, rewrite: Rewrite) -> None:
        super().__init__(convert_charrefs=False)
        self._rewrite = rewrite
        self._text = ""
        self._at = 0
        """Up to here it has been copied."""
        self._line, self._column = 1, 0
        """Of that place."""
        self._done: list[str] = []
        self._failed = False

    @property
    def is_lost(self) -> bool:
        """What comes now cannot be understood, or does not end."""
        return self._failed or len(self._text) > MAX_PENDING_CHARS

    def take(self, text: str) -> str:
        """Everything up to the place from which the parser needs to know more."""
        self._text += text
        try:
            self.feed(text)
        except AssertionError:  # how it says that a marked section is of no kind that there is
            self._failed = True
        else:
            self._copy_until(self.getpos())
        self._text = self._text[self._at :]
        self._at = 0
        done, self._done = "".join(self._done), []
        return done

    def rest(self) -> str:
        rest, self._text = self._text, ""
        return rest

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        links = _LINKS.get(tag)
        if links is None:
            return
        changed = [(name, self._rewrite(value) if value and name in links else value) for name, value in attrs]
        raw = self.get_starttag_text()
        if changed == attrs or raw is None:
            return
        self._copy_until(self.getpos())
        self._done.append(_format_tag(tag, changed, closed=raw.endswith("/>")))
        self._skip(len(raw))

    def _copy_until(self, place: tuple[int, int]) -> None:
        begin, (line, column) = self._at, place
        while self._line < line:
            self._at = self._text.index("\n", self._at) + 1
            self._line, self._column = self._line + 1, 0
        self._at += column - self._column
        self._column = column
        self._done.append(self._text[begin : self._at])

    def _skip(self, length: int) -> None:
        skipped = self._text[self._at : self._at + length]
        self._at += length
        if lines := skipped.count("\n"):
            self._line += lines
            self._column = length - skipped.rindex("\n") - 1
        else:
            self._column += length


def _format_tag(tag: str, attributes: Attributes, *, closed: bool) -> str:
    parts = [name if value is None else f'{name}="{html.escape(value)}"' for name, value in attributes]
    return f"<{' '.join([tag, *parts])}{'/' if closed else ''}>"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

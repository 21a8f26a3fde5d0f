"""``podhost cp``: files and directories into a container, or out of it, by the ``tar`` that is in it."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from podhost.cli.copy_tar import Unpacker, pack
from podhost.cli.exec import default_container, explain
from podhost.cli.failure import HintedError
from podhost.cli.session import connect, namespace_of
from podhost.cli.terminal import say
from podhost.client import ApiClient, ApiStatusError
from podhost.client.exec_stream import ERROR, STDERR, STDIN, STDOUT, ExecStream, exec_target, exit_code_of
from podhost.errors import UnavailableError

_CHUNK_BYTES = 1 << 16
_NOT_FOUND = (126, 127)
_MAX_STDERR_BYTES = 1 << 14
_MAX_LINES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "podhost cp [-c CONTAINER] SOURCE TARGET        (one of them POD:PATH)"
    parser.epilog = (
        "As cp -r: into TARGET when that is a directory, else to that name.  The container needs a tar.\n\n"
        "examples:\n"
        "  podhost cp site/ web:/usr/share/nginx/html\n"
        "  podhost cp web:/var/log/nginx logs\n"
        "  podhost cp -c db dump.sql store/db-0:/tmp    a pod of the namespace store\n"
    )
    parser.add_argument("source", metavar="SOURCE", help="a path, or [NAMESPACE/]POD:PATH")
    parser.add_argument("target", metavar="TARGET", help="a path, or [NAMESPACE/]POD:PATH")
    parser.add_argument("-c", "--container", metavar="NAME", default="", help="default: the first container")
    parser.add_argument(
        "--no-preserve", action="store_true", help="do not give files in the container owner and mode of those here"
    )


@dataclass(frozen=True, slots=True)
class Place:
    """One side of a copy; without a pod it is here."""

    path: str
    pod: str = ""
    namespace: str = ""


def parse_place(text: str) -> Place:
    """``POD:PATH``, ``NAMESPACE/POD:PATH`` or a path here; one that has a colon must begin with ``/`` or ``.``."""
    before, colon, path = text.partition(":")
    if not colon or text.startswith((".", "/")):
        return Place(text)
    namespace, _, pod = before.removeprefix("pod/").rpartition("/")
    if not pod or not path:
        raise HintedError(f"cannot understand '{text}'", "write POD:PATH, NAMESPACE/POD:PATH or ./PATH")
    return Place(path, pod, namespace)


def run(args: argparse.Namespace) -> int:
    source, target = parse_place(args.source), parse_place(args.target)
    if bool(source.pod) is bool(target.pod):
        raise HintedError(
            "cannot copy: one of the two must be in a pod, and one here", "podhost cp SOURCE POD:PATH, or the reverse"
        )
    client = connect(args)
    place = source if source.pod else target
    namespace = place.namespace or namespace_of(args, client)
    container = args.container or default_container(client, namespace, place.pod)
    remote = Container(client, namespace, place.pod, container)
    if target.pod:
        copy_in(remote, Path(source.path), target.path, preserve=not args.no_preserve)
    else:
        copy_out(remote, source.path, Path(target.path))
    return 0


@dataclass(slots=True)
class Result:
    """How a command in the container has ended."""

    exit_code: int = -1
    stderr: bytearray = field(default_factory=bytearray)

    @property
    def message(self) -> str:
        """The first lines, each once: tar repeats itself."""
        lines = dict.fromkeys(self.stderr.decode(errors="replace").strip().splitlines())
        return "\n".join([*lines][:_MAX_LINES])


@dataclass(frozen=True, slots=True)
class Container:
    """Where commands run."""

    client: ApiClient
    namespace: str
    pod: str
    name: str

    def open(self, *command: str, stdin: bool) -> ExecStream:
        target = exec_target(self.namespace, self.pod, container=self.name, command=command, tty=False, stdin=stdin)
        try:
            return ExecStream.open(self.client, target)
        except ApiStatusError as error:
            raise explain(error, self.pod, self.namespace) from error

    def run(self, *command: str) -> Result:
        """Run a command to its end, without its output."""
        with contextlib.closing(self.open(*command, stdin=False)) as stream:
            result = Result()
            for _ in read_output(stream, result):
                pass
        return result

    def check(self, result: Result, what: str) -> None:
        """Raises HintedError when tar is missing or has failed."""
        if result.exit_code == 0:
            return
        if result.exit_code in _NOT_FOUND:
            raise HintedError(
                f"cannot {what}: there is no tar in the container '{self.name}' of the pod '{self.pod}'",
                f"a single file goes without: podhost exec -n {self.namespace} -c {self.name} {self.pod} -- cat FILE",
                "or use an image that has tar",
            )
        raise HintedError(f"cannot {what}: {result.message or f'tar ended with exit code {result.exit_code}'}")


def read_output(stream: ExecStream, result: Result) -> Iterator[bytes]:
    """stdout as it comes; stderr and exit code go into ``result``.  Raises UnavailableError at an early end."""
    for channel, data in stream.messages():
        if channel == STDOUT:
            yield data
        elif channel == STDERR:
            result.stderr += data[: _MAX_STDERR_BYTES - len(result.stderr)]
        elif channel == ERROR:
            result.exit_code = exit_code_of(json.loads(data))
            return
    raise UnavailableError("cannot copy on: the connection was closed before the end")


def copy_in(remote: Container, source: Path, target: str, *, preserve: bool) -> None:
    """Local files into the container.  Raises HintedError."""
    if not source.exists():
        raise HintedError(f"cannot copy '{source}': there is no such file here")
    if target.endswith("/") or remote.run("test", "-d", target).exit_code == 0:
        target = f"{target.rstrip('/')}/{source.resolve().name}"
    place = PurePosixPath(target)
    flags = () if preserve else ("--no-same-permissions", "--no-same-owner")
    command = ("tar", *flags, "-xmf", "-", "-C", str(place.parent))
    with contextlib.closing(remote.open(*command, stdin=True)) as stream:
        result = Result()
        reader = _Reader(stream, result)
        writer = io.BufferedWriter(_StdinWriter(stream, reader), _CHUNK_BYTES)
        with contextlib.suppress(BrokenPipeError), writer:
            pack(source, place.name, writer, on_skipped=_tell_skipped)
        stream.close_stdin()
        reader.join()
    if reader.failure is not None:
        raise reader.failure
    remote.check(result, f"copy '{source}' to '{remote.pod}:{target}'")


def copy_out(remote: Container, source: str, target: Path) -> None:
    """Files of the container to here.  Raises HintedError."""
    name = PurePosixPath(source)
    if target.is_dir():
        target = target / name.name if name.name else target
    elif not target.parent.is_dir():
        raise HintedError(f"cannot copy to '{target}': there is no directory '{target.parent}'")
    # With the last part only: tar would say that it removes "/" from the names.
    base, last = (str(name.parent), name.name) if name.name not in ("", "..") else (source, ".")
    what = f"copy '{remote.pod}:{source}' to '{target}'"
    with contextlib.closing(remote.open("tar", "cf", "-", "-C", base, last, stdin=False)) as stream:
        result = Result()
        content = io.BufferedReader(_StdoutReader(read_output(stream, result)), _CHUNK_BYTES)
        unpacker = Unpacker(last, Path(os.path.abspath(target)), on_skipped=_tell_skipped)
        try:
            unpacker.unpack(cast(BinaryIO, content))
            content.read()  # what tar puts behind its end
        except tarfile.ReadError as error:
            content.read()
            remote.check(result, what)
            raise HintedError(f"cannot {what}: {error}") from error
        except OSError as error:
            raise HintedError(f"cannot {what}: {error.strerror or error}") from error
    if unpacker.count and result.exit_code:
        # As tar: some files could not be read, the others are there.
        say(result.message, mark="!", colour="yellow")
        raise HintedError(f"cannot copy all of '{remote.pod}:{source}': tar ended with exit code {result.exit_code}")
    remote.check(result, what)


def _tell_skipped(text: str) -> None:
    say(f"left out: {text}", mark="!", colour="yellow")


class _Reader:
    """Takes in what a command says while its stdin is being written."""

    def __init__(self, stream: ExecStream, result: Result) -> None:
        self.ended = False
        self.failure: UnavailableError | None = None
        self._stream = stream
        self._result = result
        self._thread = threading.Thread(target=self._run, name="tar output", daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            for _ in read_output(self._stream, self._result):
                pass
        except UnavailableError as error:
            self.failure = error
        self.ended = True


class _StdinWriter(io.RawIOBase):
    """stdin of a command as a file; a pipe that breaks when the command ends."""

    def __init__(self, stream: ExecStream, reader: _Reader) -> None:
        self._stream = stream
        self._reader = reader

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if self._reader.ended:
            raise BrokenPipeError
        content = bytes(data)
        self._stream.send(STDIN, content)
        return len(content)


class _StdoutReader(io.RawIOBase):
    """stdout of a command as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

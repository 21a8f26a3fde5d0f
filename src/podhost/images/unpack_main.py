"""Child process that unpacks the layers of one image; see :mod:`podhost.images.unpack`.

Run as ``python -c BOOT`` with one JSON job a line on standard input, answering one JSON line a job on standard
output.  Each job is a fork of this process, confined by ``chroot`` to the layer's directory; as many run at
once as there are processors.  Imports stay few: this is on the way of every pull.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys

# Codecs that error texts and names may need must be there before chroot.
import encodings.idna  # noqa: F401  isort: skip

from podhost.images.layer_apply import LayerWriter
from podhost.images.layer_stream import DigestError, LayerStream, UnsupportedError
from podhost.images.tar_reader import ByteSource, TarError


def main() -> None:
    """Read all jobs, run them, exit when standard input ends."""
    jobs = [json.loads(line) for line in sys.stdin.buffer]
    limit = max(1, len(os.sched_getaffinity(0)))
    running: dict[int, str] = {}
    for job in jobs:
        if len(running) >= limit:
            _reap(running)
        pid = os.fork()
        if pid == 0:
            _run_job(job)
        running[pid] = str(job["id"])
    while running:
        _reap(running)


def _reap(running: dict[int, str]) -> None:
    pid, status = os.wait()
    job = running.pop(pid)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        _answer({"id": job, "error": f"the unpacking process died: {name}", "kind": "died"})


def _answer(message: dict[str, object]) -> None:
    # One write: lines of several processes do not mix (they are shorter than PIPE_BUF or written under no rival).
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


def _run_job(job: dict[str, str]) -> None:
    """Never returns."""
    try:
        message = unpack_layer(job["blob"], job["target"], job["compression"], job["digest"], job["diff_id"])
    except (DigestError, TarError, UnsupportedError) as error:
        kind = "digest" if isinstance(error, DigestError) else "tar"
        message = {"error": str(error), "kind": kind}
    except OSError as error:
        text = error.strerror or str(error)
        message = {"error": text, "kind": "os", "errno": errno.errorcode.get(error.errno or 0, "")}
    except BaseException as error:
        message = {"error": f"{type(error).__name__}: {error}", "kind": "bug"}
    try:
        _answer({"id": job["id"], **message})
    finally:
        os._exit(0)


def unpack_layer(blob: str, target: str, compression: str, digest: str, diff_id: str) -> dict[str, object]:
    """Unpack ``blob`` into the empty directory ``target``; changes the root of the calling process for good."""
    fd = os.open(blob, os.O_RDONLY | os.O_CLOEXEC)
    os.chroot(target)
    os.chdir("/")
    os.umask(0)
    stream = LayerStream(fd, compression)
    writer = LayerWriter(ByteSource(stream))
    try:
        writer.apply_all()
    except TarError as error:
        # Damage in transit shows as nonsense in the tar first; say what is really wrong.
        for _ in iter(stream, b""):
            pass
        stream.check(digest, diff_id)
        raise error
    stream.check(digest, diff_id)
    return {
        "size": writer.file_bytes,
        "implied": [os.fsdecode(name) for name in writer.implied_directories],
    }

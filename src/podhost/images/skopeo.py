"""skopeo, as functions.  Every transport goes through here; registries.conf and policy.json are skopeo's."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podhost.errors import PodhostError, UnavailableError
from podhost.images.pull_errors import extract_message
from podhost.linux import spawn

_TAG = "image"


class SkopeoError(PodhostError):
    """skopeo refused; the text is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How to reach the source."""

    auth_file: Path | None = None
    verify_tls: bool = True


class Skopeo:
    """Runs skopeo.  ``temporary_dir`` keeps its scratch files on the store's file system."""

    def __init__(self, program: str, temporary_dir: Path) -> None:
        self._program = program
        self._environ = {**os.environ, "TMPDIR": str(temporary_dir)}

    async def inspect_raw(self, ref: str, options: SourceOptions, timeout_s: float) -> bytes:
        """The manifest or list exactly as the registry has it.  Raises SkopeoError, TimeoutError."""
        argv = ["inspect", "--raw", *_inspect_options(options), f"docker://{ref}"]
        return (await self._run(argv, timeout_s=timeout_s)).stdout

    async def copy_to_layout(
        self, source: str, layout: Path, blobs_dir: Path, options: SourceOptions | None = None, lock_fd: int = -1
    ) -> str:
        """Copy one image into a fresh OCI layout whose blobs are shared; returns the manifest's digest.

        Blobs that are there already are not fetched.  Layers that are not compressed stay so.
        """
        argv = ["copy", "--quiet", "--dest-shared-blob-dir", str(blobs_dir)]
        argv += ["--dest-oci-accept-uncompressed-layers", *_copy_options(options or SourceOptions())]
        await self._run([*argv, source, f"oci:{layout}:{_TAG}"], lock_fd)
        return str(json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"])

    async def copy_from_layout(self, layout: Path, blobs_dir: Path, target: str, lock_fd: int = -1) -> None:
        """Copy the image of a layout made by :func:`write_layout` to any transport."""
        argv = ["copy", "--quiet", "--src-shared-blob-dir", str(blobs_dir), f"oci:{layout}:{_TAG}", target]
        await self._run(argv, lock_fd)

    async def _run(
        self, arguments: Sequence[str], lock_fd: int = -1, timeout_s: float | None = None
    ) -> spawn.Completed:
        argv = [self._program, *arguments]
        pass_fds = (lock_fd,) if lock_fd >= 0 else ()
        try:
            # A registry that does not answer would keep it for ever: nobody is left who could end it.
            completed = await spawn.run(
                argv, env=self._environ, check=False, pass_fds=pass_fds, timeout_s=timeout_s, dies_with_us=True
            )
        except spawn.CommandError as error:
            raise UnavailableError(f"{error} (is skopeo installed?)") from error
        if completed.returncode != 0:
            said = completed.stderr.decode(errors="replace")
            if completed.returncode < 0:
                said = f"{said}\nskopeo was {spawn.describe_exit(completed.returncode)}"
            raise SkopeoError(extract_message(said))
        return completed


def write_layout(layout: Path, manifest_digest: str, size_bytes: int) -> None:
    """An OCI layout that names one manifest of the shared blobs."""
    layout.mkdir(parents=True, exist_ok=True)
    descriptor = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": manifest_digest,
        "size": size_bytes,
        "annotations": {"org.opencontainers.image.ref.name": _TAG},
    }
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))


def _inspect_options(options: SourceOptions) -> list[str]:
    argv = [] if options.verify_tls else ["--tls-verify=false"]
    return argv + (["--authfile", str(options.auth_file)] if options.auth_file else [])


def _copy_options(options: SourceOptions) -> list[str]:
    argv = [] if options.verify_tls else ["--src-tls-verify=false"]
    return argv + (["--src-authfile", str(options.auth_file)] if options.auth_file else [])

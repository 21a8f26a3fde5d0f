"""``podhost image``: the image store of this machine."""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from podhost.cli.failure import HintedError
from podhost.cli.output import print_document
from podhost.cli.session import OWN_API, calling_user, connect, require_podhost
from podhost.cli.terminal import StatusLine, format_age, format_bytes, format_table, say
from podhost.client import ApiClient, ApiStatusError

TRANSPORTS = ("docker-archive", "oci-archive", "oci", "docker-daemon", "containers-storage", "dir", "docker")
_FILE_TRANSPORTS = ("docker-archive", "oci-archive", "oci", "dir")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  podhost image pull nginx:1.27\n"
        "  podhost image load app.tar               docker save, or an OCI archive\n"
        "  podhost image load docker-daemon:app:1   out of a docker that runs here\n"
        "  podhost image build -t app .\n"
        "  podhost image ls\n"
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    pull = verbs.add_parser("pull", help="fetch from a registry, with your docker or podman credentials")
    pull.add_argument("refs", nargs="+", metavar="IMAGE")
    load = verbs.add_parser("load", help="import from an archive, a directory, docker or podman")
    load.add_argument("source", help="FILE, DIRECTORY, or TRANSPORT:… with " + ", ".join(TRANSPORTS[:5]))
    load.add_argument("--name", help="name to give it (default: the names in the archive)")
    build = verbs.add_parser("build", help="build a Containerfile with buildah")
    # Not "context": the flag of that name chooses the server.
    build.add_argument("directory", nargs="?", default=".", help="build context (default: .)")
    build.add_argument("-t", "--tag", "--name", dest="name", help="name (default: the directory's)")
    build.add_argument("-f", "--file", help="Containerfile (default: Containerfile or Dockerfile in the directory)")
    listing = verbs.add_parser("ls", help="list images")
    listing.add_argument("-o", "--output", choices=("wide", "json", "yaml"), help="digests too; or documents")
    listing.add_argument("-q", "--quiet", action="store_true", help="names only")
    inspect = verbs.add_parser("inspect", help="all about an image, as JSON")
    inspect.add_argument("refs", nargs="+", metavar="IMAGE")
    remove = verbs.add_parser("rm", help="forget names; the image goes with its last one")
    remove.add_argument("refs", nargs="+", metavar="IMAGE")
    verbs.add_parser("prune", help="remove images without a name that nothing uses")
    tag = verbs.add_parser("tag", help="give an image one more name")
    tag.add_argument("source", metavar="IMAGE")
    tag.add_argument("name", metavar="NAME")


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    require_podhost(args, client, "see or change the images")
    verbs: dict[str, Callable[[ApiClient, argparse.Namespace], int]] = {
        "pull": _pull,
        "load": _load,
        "build": _build,
        "ls": _ls,
        "inspect": _inspect,
        "rm": _rm,
        "prune": _prune,
        "tag": _tag,
    }
    return verbs[args.verb](client, args)


def image_path(ref: str) -> str:
    return f"{OWN_API}/images/{quote(ref, safe='')}"


def _pull(client: ApiClient, args: argparse.Namespace) -> int:
    from podhost.cli.auth_files import credentials_for

    for ref in args.refs:
        body = {"ref": ref, "auths": credentials_for(ref, calling_user())}
        image = follow_progress(_post(client, "pull", body), f"cannot pull '{ref}'")
        print(_title(image, ref))
    return 0


def _load(client: ApiClient, args: argparse.Namespace) -> int:
    body: dict[str, Any] = {"source": resolve_source(args.source)}
    if args.name:
        body["name"] = args.name
    answer = follow_answer(_post(client, "load", body), f"cannot load '{args.source}'")
    images = answer.get("images") or [answer["image"]]
    for name in answer.get("names") or [args.source]:
        image = next((each for each in images if name in _names(each)), None)
        print(_title(image or images[0], name))
        if image is None:
            say(f"there is no name in it; give it one: podhost image load {args.source} --name NAME", mark="!")
    return 0


def _build(client: ApiClient, args: argparse.Namespace) -> int:
    context = Path(args.directory).absolute()
    if not context.is_dir():
        raise HintedError(f"cannot build '{args.directory}': it is not a directory")
    body: dict[str, Any] = {"context": str(context), "name": args.name or context.resolve().name.lower()}
    if args.file:
        body["containerfile"] = str(Path(args.file).absolute())
    image = follow_progress(_post(client, "build", body), f"cannot build '{args.directory}'")
    print(_title(image, body["name"]))
    return 0


def _ls(client: ApiClient, args: argparse.Namespace) -> int:
    listed = client.get(f"{OWN_API}/images")
    images = listed.get("items") or listed.get("images") or []
    if args.output in ("json", "yaml"):
        print_document(images, args.output)
        return 0
    header = ["NAME", "TAG", "IMAGE ID", "CREATED", "SIZE", "LOCAL"]
    rows: list[tuple[str, ...]] = []
    for image in images:
        more = (_platform(image), _digest(image)) if args.output == "wide" else ()
        rows += [(*row, *more) for row in image_rows(image, time.time())]
    if args.quiet:
        print("\n".join(sorted(f"{row[0]}:{row[1]}" for row in rows)))
        return 0
    if not rows:
        say("no images; get one: podhost image pull nginx")
        return 0
    print(format_table([*header, *(["PLATFORM", "DIGEST"] if args.output == "wide" else [])], sorted(rows)))
    return 0


def _platform(image: dict[str, Any]) -> str:
    return f"{image.get('os', '')}/{image.get('architecture', '')}"


def _digest(image: dict[str, Any]) -> str:
    """What the registry calls it; an image that was made here has none."""
    return next((str(each).partition("@")[2] for each in field(image, "repo_digests") or ()), "<none>")


def image_rows(image: dict[str, Any], now_s: float) -> Iterator[tuple[str, str, str, str, str, str]]:
    """One row a name; Docker Hub's prefix is left out, as people write it."""
    created = _parse_time(str(field(image, "created_at") or ""))
    age = f"{format_age(now_s - created)} ago" if created else ""
    short = str(image.get("id", "")).removeprefix("sha256:")[:12]
    size = format_bytes(int(field(image, "size_bytes") or 0))
    for name in field(image, "repo_tags") or ["<none>:<none>"]:
        repository, _, tag = str(name).rpartition(":")
        local = "yes" if name in (field(image, "local_names") or ()) else ""
        shown = repository.removeprefix("docker.io/library/").removeprefix("docker.io/")
        yield shown, tag, short, age, size, local


def field(image: dict[str, Any], name: str) -> Any:
    """A field under its Python or its JSON name."""
    head, *rest = name.split("_")
    return image.get(name, image.get(head + "".join(part.title() for part in rest)))


def _inspect(client: ApiClient, args: argparse.Namespace) -> int:
    print(json.dumps([_request(client, "GET", ref) for ref in args.refs], indent=2))
    return 0


def _rm(client: ApiClient, args: argparse.Namespace) -> int:
    for ref in args.refs:
        _request(client, "DELETE", ref)
        print(f"removed {ref}")
    return 0


def _prune(client: ApiClient, args: argparse.Namespace) -> int:
    answer = client.request("POST", f"{OWN_API}/images/prune", body={})
    count = field(answer, "images_removed") or 0
    print(f"removed {count} images, {format_bytes(int(field(answer, 'bytes_freed') or 0))} freed")
    return 0


def _tag(client: ApiClient, args: argparse.Namespace) -> int:
    body = {"source": args.source, "name": args.name}
    _request(client, "POST", args.source, path=f"{OWN_API}/images/tag", body=body)
    print(f"{args.source} is now also {args.name}")
    return 0


def _request(
    client: ApiClient, method: str, ref: str, *, path: str = "", body: dict[str, Any] | None = None
) -> dict[str, Any]:
    try:
        return client.request(method, path or image_path(ref), body=body)
    except ApiStatusError as error:
        if error.code == 404:
            raise HintedError(f"cannot find the image '{ref}' on this machine", "see all: podhost image ls") from error
        raise


def _post(client: ApiClient, verb: str, body: dict[str, Any]) -> Iterator[bytes]:
    return client.stream_lines("POST", f"{OWN_API}/images/{verb}", body=body)


def follow_progress(lines: Iterator[bytes], failure: str) -> dict[str, Any]:
    """As :func:`follow_answer`; the image alone."""
    answer = follow_answer(lines, failure)
    return dict(answer.get("image") or (answer.get("images") or [{}])[0])


def follow_answer(lines: Iterator[bytes], failure: str) -> dict[str, Any]:
    """Show the progress of a pull, load or build; the answer at its end.

    Raises:
        HintedError: With the server's words.
    """
    status = StatusLine()
    for line in lines:
        if not line.strip():
            continue
        entry = json.loads(line)
        if "progress" in entry:
            status.show(format_progress(entry["progress"]), plain=format_phase(entry["progress"]))
        elif "output" in entry:
            sys.stderr.write(entry["output"])
        elif "error" in entry:
            status.clear()
            message = str(entry["error"].get("message") or entry["error"])
            # What the server cannot do, it says by itself.
            raise HintedError(message if message.startswith("cannot ") else f"{failure}: {message}")
        elif "image" in entry or "images" in entry:
            status.clear()
            return dict(entry)
    status.clear()
    raise HintedError(f"{failure}: the daemon ended the answer half-way", "see its log, and: podhost doctor")


def format_progress(progress: dict[str, Any], width: int = 24) -> str:
    """``nginx downloading [#####…   ] 12 of 76 MB, layers 1/3``."""
    ref, phase = progress.get("ref", ""), progress.get("phase", "")
    done, total = int(progress.get("done_bytes") or 0), int(progress.get("total_bytes") or 0)
    parts = [f"{ref} {phase}"]
    if total:
        filled = min(width, done * width // total)
        parts.append(f"[{'#' * filled}{' ' * (width - filled)}] {format_bytes(done)} of {format_bytes(total)}")
    elif done:
        parts.append(format_bytes(done))
    if progress.get("layers_total"):
        parts.append(f"layers {progress.get('layers_done', 0)}/{progress['layers_total']}")
    return " ".join(parts)


def format_phase(progress: dict[str, Any]) -> str:
    """What a pipe is told: each phase once."""
    return f"{progress.get('ref', '')} {progress.get('phase', '')}"


def resolve_source(text: str) -> str:
    """``TRANSPORT:…`` with absolute paths: the daemon has another working directory.

    Raises:
        HintedError: There is no such file, or it is no image archive.
    """
    transport, colon, rest = text.partition(":")
    if colon and transport in TRANSPORTS:
        if transport not in _FILE_TRANSPORTS:
            return text
        path, colon, tag = rest.partition(":")
        return f"{transport}:{Path(path).absolute()}{colon}{tag}"
    path_ = Path(text)
    if not path_.exists():
        raise HintedError(
            f"cannot load '{text}': no such file or directory",
            "give a file, a directory, or TRANSPORT:… such as docker-daemon:nginx:latest",
            f"from a registry: podhost image pull {text}",
        )
    return f"{detect_transport(path_)}:{path_.absolute()}"


def detect_transport(path: Path) -> str:
    """Raises HintedError for what is neither an OCI layout nor an archive."""
    if path.is_dir():
        if (path / "oci-layout").exists():
            return "oci"
        if (path / "manifest.json").exists():
            return "dir"
        raise HintedError(f"cannot load the directory '{path}': it has neither oci-layout nor manifest.json")
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if name in ("oci-layout", "index.json"):
                    return "oci-archive"
                if name in ("manifest.json", "repositories"):
                    return "docker-archive"
    except tarfile.ReadError as error:
        raise HintedError(f"cannot load '{path}': it is not an image archive (no tar file, or a cut one)") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise HintedError(f"cannot load '{path}': it is not an image archive: {error}") from error
    raise HintedError(f"cannot load '{path}': the archive holds no image (neither manifest.json nor oci-layout)")


def _names(image: dict[str, Any]) -> list[str]:
    return [str(name) for name in field(image, "repo_tags") or ()]


def _title(image: dict[str, Any], asked: str) -> str:
    """The name that was asked for in full, where the image has it, and the id."""
    name = next((name for name in _names(image) if _is_name(name, asked)), asked)
    return f"{name} {str(image.get('id', ''))[:19]}".rstrip()


def _is_name(full: str, asked: str) -> bool:
    return asked in (full, full.removesuffix(":latest")) or full.endswith(("/" + asked, f"/{asked}:latest"))


def _parse_time(text: str) -> float:
    try:
        return datetime.fromisoformat(text[:19] + "+00:00").timestamp()
    except ValueError:
        return 0.0

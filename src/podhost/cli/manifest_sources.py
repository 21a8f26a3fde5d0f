"""Texts of manifests: files, directories, stdin and URLs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from podhost.cli.failure import HintedError
from podhost.errors import InvalidError, NotFoundError, UnavailableError

SUFFIXES = (".yaml", ".yml", ".json")
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_URL_TIMEOUT_S = 20.0
_URL_BYTES_MAX = 10_000_000


def list_sources(name: str) -> list[str]:
    """The name itself, or the manifests of a directory in order.

    Raises:
        NotFoundError: A directory without any.
        HintedError: A kustomization, which must be built first.
    """
    if name == "-" or is_url(name):
        return [name]
    path = Path(name)
    _refuse_kustomization(path)
    if path.is_dir():
        found = sorted(str(entry) for entry in path.iterdir() if entry.suffix in SUFFIXES and entry.is_file())
        if not found:
            raise NotFoundError(f"cannot find a manifest in the directory '{name}': no {', '.join(SUFFIXES)} in it")
        return found
    return [name]


def _refuse_kustomization(path: Path) -> None:
    """Its manifests are not what it means: it names, patches and adds to them."""
    if path.is_dir():
        directory = path
        found = next((name for name in _KUSTOMIZATIONS if (path / name).is_file()), "")
    else:
        directory, found = path.parent, path.name if path.name in _KUSTOMIZATIONS else ""
    if found:
        where = shlex.quote(str(directory))
        raise HintedError(
            f"cannot use '{path}': {found} makes it a kustomization, which must be built first",
            f"kubectl kustomize {where} | podhost up -",
            f"or apply it with kubectl: kubectl apply -k {where}",
        )


def read_source(name: str) -> tuple[str, str]:
    """The name to show and the text, its line ends as they are.

    Raises:
        NotFoundError: The file does not exist.
        InvalidError: It cannot be read, or is no text.
        UnavailableError: The URL does not answer.
    """
    if name == "-":
        return "stdin", sys.stdin.read()
    try:
        data = _fetch(name) if is_url(name) else Path(name).read_bytes()
        return name, data.decode("utf-8")
    except FileNotFoundError as error:
        raise NotFoundError(f"cannot read '{name}': no such file or directory") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InvalidError(f"cannot read '{name}': line {line} is not UTF-8 text") from error
    except OSError as error:
        raise InvalidError(f"cannot read '{name}': {error}") from error


def is_url(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def _fetch(url: str) -> bytes:
    import urllib.error
    import urllib.request

    from podhost import __version__

    request = urllib.request.Request(url, headers={"User-Agent": f"podhost/{__version__}"})
    try:
        with urllib.request.urlopen(request, timeout=_URL_TIMEOUT_S) as response:
            data: bytes = response.read(_URL_BYTES_MAX + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise NotFoundError(f"cannot read '{url}': HTTP {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise UnavailableError(f"cannot read '{url}': {getattr(error, 'reason', error)}") from error
    if len(data) > _URL_BYTES_MAX:
        raise InvalidError(f"cannot read '{url}': it is larger than {_URL_BYTES_MAX} bytes")
    return data

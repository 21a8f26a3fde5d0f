"""``podhost login``: credentials of a registry, checked there and kept where podman and skopeo keep them."""

from __future__ import annotations

import argparse
import getpass
import os
import sys

from podhost.cli.auth_files import choose_auth_file, normalize_registry, run_skopeo
from podhost.cli.failure import HintedError
from podhost.cli.session import calling_user
from podhost.cli.terminal import clean_text, say
from podhost.images.registry_auth import is_loopback


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The password is asked for, or read from stdin; it is never an argument, which others could see.  What the\n"
        "registry accepts is kept in the caller's auth.json, as podman and skopeo do: readable by the caller alone,\n"
        "not encrypted.  'podhost image pull' uses it.  Pods use their imagePullSecrets and the login of root, since\n"
        "the daemon runs as root.\n\n"
        "examples:\n"
        "  podhost login                            Docker Hub\n"
        "  podhost login registry.example.com:5000\n"
        "  podhost login -u me --password-stdin quay.io < token\n"
    )
    parser.add_argument("registry", nargs="?", default="docker.io", help="HOST[:PORT] (default: docker.io)")
    parser.add_argument("-u", "--username", metavar="USER", help="asked for when left out")
    parser.add_argument("--password-stdin", action="store_true", help="read the password from stdin")


def run(args: argparse.Namespace) -> int:
    registry = normalize_registry(args.registry)
    user, password = read_credentials(args, registry)
    caller = calling_user()
    path = choose_auth_file(registry, caller, os.environ)
    flags = ["--username", user, "--password-stdin"]
    if is_loopback(registry.partition("/")[0]):
        flags.append("--tls-verify=false")  # as in a pull from this machine
    code, said = run_skopeo("login", registry, path, caller, *flags, stdin=password)
    if code:
        raise explain_refusal(registry, said)
    say(f"logged in to {registry} as {user}; kept in {path}", mark="✓", colour="green")
    if caller.uid != 0:
        say("pods need it as a pull secret: kubectl create secret docker-registry", mark="•", colour="grey")
    return 0


def read_credentials(args: argparse.Namespace, registry: str) -> tuple[str, str]:
    """(user, password), asked for on the terminal where they are not given.

    Raises:
        HintedError: There is no terminal to ask on, or one of them is empty.
    """
    asks = not args.password_stdin or not args.username
    if asks and (args.password_stdin or not sys.stdin.isatty()):
        raise HintedError(
            f"cannot log in to '{registry}': there is no terminal to ask for user and password",
            f"podhost login -u USER --password-stdin {registry} < FILE",
        )
    user = args.username or _ask(f"User for {registry}: ")
    given = args.password_stdin
    password = sys.stdin.readline().rstrip("\r\n") if given else getpass.getpass(f"Password of {user}: ")
    if not user or not password:
        raise HintedError(f"cannot log in to '{registry}': the {'password' if user else 'user'} is empty")
    return user, password


def _ask(prompt: str) -> str:
    """On stderr, as getpass does: stdout belongs to answers."""
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def explain_refusal(registry: str, said: str) -> HintedError:
    """skopeo's last line, and what helps."""
    from podhost.images.pull_errors import extract_message

    text = clean_text(extract_message(said))
    hints: tuple[str, ...] = ()
    if "x509" in text or "certificate" in text:
        hints = (f"put the certificate of its authority into /etc/containers/certs.d/{registry}/ca.crt",)
    elif "server gave HTTP response to HTTPS client" in text:
        hints = (f"it has no TLS; /etc/containers/registries.conf may allow that: insecure = true for {registry}",)
    return HintedError(f"cannot log in to '{registry}': {text}", *hints)

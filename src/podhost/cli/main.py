"""Entry point: global flags, the table of commands, and one place where errors become words and exit codes.

Only the module of the command that was asked for is imported; ``podhost version`` must start in 60 ms.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from podhost.errors import PodhostError

EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2
EXIT_INTERRUPTED = 130

COMMANDS: dict[str, str] = {
    "up": "create or update what manifests say, wait until it is ready, follow the logs",
    "down": "delete what manifests name and wait until it is gone",
    "check": "say what is wrong with manifests, at which line, and what was probably meant",
    "fix": "mend what is certain in manifests (indentation, tabs); shows the change first",
    "ps": "list pods",
    "describe": "say all about a pod or another object: what is wrong, state, settings, events",
    "events": "list what has happened, and go on as it happens",
    "logs": "print the logs of a pod, of all its containers in the order of time",
    "exec": "run a command in a container",
    "cp": "copy files and directories into a container, or out of it",
    "port-forward": "let ports of this machine lead into a pod",
    "restart": "give pods and workloads a fresh run",
    "channels": "draw how the containers of a pod talk, and what is wrong with it",
    "top": "show what pods and containers use: processors, memory, bytes read and written",
    "ports": "say who listens where in a pod",
    "diagnose": "say what is wrong with the channels of a pod, and how to mend it",
    "image": "pull, load, build, list, inspect, tag, remove and prune images",
    "login": "keep credentials of a registry, as podman and skopeo do, after it has accepted them",
    "logout": "forget the credentials of a registry",
    "doctor": "check this machine, and say how to mend what is missing",
    "serve": "run the daemon in the foreground",
    "stop": "end the daemon",
    "kubeconfig": "write a kubeconfig for kubectl and print its path",
    "completion": "print the completion script for bash, zsh or fish",
    "man": "show a manual page, or write all of them",
    "version": "print the versions of client and daemon",
}

# What kubectl, docker and podman call it.
_ELSEWHERE = {
    "apply": "up",
    "attach": "exec",
    "build": "image build",
    "config": "kubeconfig",
    "create": "up",
    "delete": "down",
    "get": "ps",
    "images": "image ls",
    "inspect": "describe",
    "kube": "up",
    "lint": "check",
    "load": "image load",
    "ls": "ps",
    "play": "up",
    "pods": "ps",
    "pull": "image pull",
    "rm": "down",
    "rmi": "image rm",
    "run": "up",
    "shell": "exec -it",
    "start": "up",
    "stats": "top",
    "status": "ps",
    "tag": "image tag",
    "validate": "check",
}
_GLOBAL_WITH_VALUE = ("--instance", "--context", "--kubeconfig", "-n", "--namespace")


class Command(Protocol):
    """What a command's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    _open_missing_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    index = find_command(words)
    if index is None:
        return _print_overview(words)
    name = words.pop(index)
    if name == "help":
        return main([*words, "--help"])
    if name not in COMMANDS:
        print(f"podhost: unknown command '{name}'{_did_you_mean(name)}", file=sys.stderr)
        print("Run 'podhost --help' for the list of commands.", file=sys.stderr)
        return EXIT_USAGE
    command = load_command(name)
    parser = build_parser(name, command)
    try:
        args = parse_words(parser, words)
    except SystemExit as leave:
        return int(leave.code or 0)
    return _run(command, args)


def _open_missing_streams() -> None:
    """A caller may close them (``>&-``): a connection that takes their number would get what is printed."""
    for number, (name, flags) in enumerate((("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def find_command(words: Sequence[str]) -> int | None:
    """Index of the first word that is neither a flag nor a global flag's value."""
    skip = False
    for index, word in enumerate(words):
        if skip:
            skip = False
        elif word in _GLOBAL_WITH_VALUE:
            skip = True
        elif not word.startswith("-"):
            return index
    return None


def parse_words(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Flags may stand between arguments (``logs one -f two``), which argparse allows only when it is asked to."""
    rigid = any(action.nargs in (argparse.PARSER, argparse.REMAINDER) for action in parser._actions)
    return parser.parse_args(words) if rigid or "--" in words else parser.parse_intermixed_args(words)


def load_command(name: str) -> Command:
    return cast(Command, importlib.import_module(f"podhost.cli.{name.replace('-', '_')}"))


def parser_of(name: str) -> argparse.ArgumentParser:
    """Parser of a command by its name, for completion and manual."""
    return build_parser(name, load_command(name))


def build_parser(name: str, command: Command) -> argparse.ArgumentParser:
    """Parser of one command, global flags included."""
    parser = argparse.ArgumentParser(
        prog=f"podhost {name}", description=COMMANDS[name], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_global_arguments(parser)
    command.add_arguments(parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                _accept_global_arguments(verb)
    return parser


def add_global_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("global flags")
    group.add_argument(
        "--instance",
        metavar="NAME",
        default=os.environ.get("PODHOST_INSTANCE") or "default",
        help="which podhost of this machine (PODHOST_INSTANCE; default: default)",
    )
    group.add_argument("--context", metavar="NAME", help="talk to this context of the kubeconfig instead")
    group.add_argument("--kubeconfig", metavar="FILE", help="kubeconfig for --context (default: KUBECONFIG)")
    group.add_argument("-n", "--namespace", metavar="NAME", help="namespace (default: the context's, or default)")


def _accept_global_arguments(verb: argparse.ArgumentParser) -> None:
    """``image ls --instance two`` too; told in the help of the command.  Absent, they leave what stands before."""
    for name in (["--instance"], ["--context"], ["--kubeconfig"], ["-n", "--namespace"]):
        verb.add_argument(*name, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _did_you_mean(name: str) -> str:
    from podhost.manifests.spelling import nearest_name

    meant = _ELSEWHERE.get(name) or nearest_name(name, COMMANDS)
    return f": did you mean 'podhost {meant}'?" if meant else ""


def _print_overview(words: Sequence[str]) -> int:
    if "--version" in words:
        from podhost import __version__

        print(f"podhost {__version__}")
        return EXIT_OK
    lines = ["usage: podhost [--instance NAME] [--context NAME] [-n NAMESPACE] COMMAND …", ""]
    lines += ["Run Kubernetes Pods on this machine, straight from their manifests.", "", "commands:"]
    width = max(map(len, COMMANDS)) + 1
    lines += [f"  {name:<{width}} {text}" for name, text in COMMANDS.items()]
    lines += ["", "'podhost COMMAND --help' says more.  First steps: podhost doctor, then podhost up FILE."]
    asked = any(word in ("-h", "--help") for word in words)
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    return EXIT_OK if asked else EXIT_USAGE


def _run(command: Command, args: argparse.Namespace) -> int:
    from podhost.cli.failure import print_failure
    from podhost.cli.hints import remember_flags

    remember_flags(args)
    try:
        code = command.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has left; a second failure while Python flushes would only be noise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_OK
    except PodhostError as error:
        print_failure(error, args)
        return EXIT_FAILURE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print(f"podhost: cannot write the output: {error.strerror}", file=sys.stderr)
        return EXIT_FAILURE


if __name__ == "__main__":
    sys.exit(main())

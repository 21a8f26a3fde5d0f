"""``podhost version``: of this program and of the daemon."""

from __future__ import annotations

import argparse
from typing import Any

from podhost import __version__
from podhost.cli.output import print_document
from podhost.cli.session import OWN_API, connect, is_local
from podhost.client import ApiStatusError
from podhost.errors import PodhostError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  podhost version\n  podhost version -o json | jq -r .client.version\n"
    parser.add_argument("-o", "--output", choices=("json", "yaml"), help="a document instead of text")
    parser.add_argument("--client", action="store_true", help="do not ask the daemon")


def run(args: argparse.Namespace) -> int:
    report: dict[str, Any] = {"client": {"version": __version__}}
    if not args.client:
        report["server"] = _server(args)
    if args.output:
        print_document(report, args.output)
        return 0
    print(f"client   podhost {__version__}")
    if not args.client:
        print(f"server   {format_server(report['server'])}")
    return 0


def _server(args: argparse.Namespace) -> dict[str, Any]:
    try:
        client = connect(args)
        answer = client.get("/version")
        if is_local(args):
            try:
                answer = {**answer, **client.get(f"{OWN_API}/info")}
            except ApiStatusError:
                pass
    except PodhostError as error:
        return {"error": str(error)}
    return answer


def format_server(server: dict[str, Any]) -> str:
    if "error" in server:
        return str(server["error"]).removeprefix("cannot reach the ").replace("podhost daemon at", "none at")
    own = f"podhost {server['version']}, " if server.get("version") else ""
    return f"{own}Kubernetes {server.get('gitVersion', 'unknown')}"

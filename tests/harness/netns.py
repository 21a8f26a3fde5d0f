"""Network namespaces standing in for pods, and small servers and clients in them."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from pathlib import Path

from podhost.linux import namespaces


class Pods:
    """Network namespaces standing in for pods, and processes in them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: list[Path] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def netns(self, name: str) -> Path:
        self._made.append(self._directory / name)
        return namespaces.pin_namespaces(self._directory / name, frozenset({"net"}))["net"]

    def run(self, netns: Path, *argv: str) -> subprocess.CompletedProcess[str]:
        command = ["nsenter", f"--net={netns}", *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    def serve(self, netns: Path | None, address: str, port: int, text: str) -> None:
        """A server that answers each connection with its client's address and ``text``."""
        program = (
            "import socket,sys\n"
            f"s=socket.create_server(({address!r},{port}))\n"
            "print('ready',flush=True)\n"
            "while True:\n"
            " c,a=s.accept()\n"
            f" c.sendall((a[0]+' {text}').encode());c.close()\n"
        )
        argv = ["python3", "-c", program]
        process = subprocess.Popen(["nsenter", f"--net={netns}", *argv] if netns else argv, stdout=subprocess.PIPE)
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        for directory in self._made:
            namespaces.unpin_namespaces(directory)


ASK = """
import socket,sys
s=socket.socket(); s.settimeout(1)
try: s.connect((sys.argv[1],int(sys.argv[2]))); print(s.recv(99).decode())
except OSError as e: print(type(e).__name__)
"""


def ask(pods: Pods, netns: Path, address: str, port: int) -> str:
    return pods.run(netns, "python3", "-c", ASK, address, str(port)).stdout.strip()


async def ask_host(address: str, port: int) -> str:
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 1)
    except OSError as error:
        return type(error).__name__
    text = (await reader.read()).decode()
    writer.close()
    return text


def host_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        return str(probe.getsockname()[0])

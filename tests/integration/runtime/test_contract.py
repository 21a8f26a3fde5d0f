"""The real runtime keeps the contract that the fake is held to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harness.runtime_contract import Behaviour, RuntimeContract, Subject
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerConfig, PodSandboxConfig, RuntimeService

_COMMANDS: dict[Behaviour, tuple[str, ...]] = {
    "stays": ("sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done"),
    "stubborn": ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.02; done"),
    "succeeds": ("true",),
    "fails": ("sh", "-c", "exit 3"),
    "refused": ("nope",),
}


class RealSubject:
    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self.service: RuntimeService = machine.service

    def sandbox_config(self) -> PodSandboxConfig:
        config: PodSandboxConfig = self._machine.sandbox_config()
        return config

    def behaving(self, behaviour: Behaviour) -> ContainerConfig:
        config: ContainerConfig = self._machine.container_config(*_COMMANDS[behaviour])
        return config

    async def wait_up(self, container_id: ContainerId) -> None:
        log = self.service.container_status(container_id).log_path
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(_says, log, "up"):
                await asyncio.sleep(0.005)  # a log has no event of its own


def _says(log: Path, word: str) -> bool:
    return log.exists() and word in log.read_text()


class TestRealRuntime(RuntimeContract):
    @pytest.fixture
    def subject(self, machine: Any) -> Subject:
        return RealSubject(machine)

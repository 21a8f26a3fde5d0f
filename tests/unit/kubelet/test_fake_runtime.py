"""The fake runtime keeps the contract of the real one."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from harness.cri_fakes import FakeRuntime, Script
from harness.runtime_contract import Behaviour, RuntimeContract, Subject
from podhost.aiokit.clock import FakeClock
from podhost.cri.ids import ContainerId, ImageId, PodUID
from podhost.cri.runtime import ContainerConfig, ContainerStartError, PodSandboxConfig, RuntimeService

pytest.importorskip("looptime")
pytestmark = pytest.mark.looptime

_SCRIPTS: dict[Behaviour, Script] = {
    "stays": Script(term_code=5),
    "stubborn": Script(ignores_term=True),
    "succeeds": Script(run_s=0.1),
    "fails": Script(run_s=0.1, code=3),
    "refused": Script(start_error=ContainerStartError("no such file")),
}


class FakeSubject:
    def __init__(self) -> None:
        self._uids = count()
        runtime = FakeRuntime(FakeClock())
        runtime.scripts.update({name: [script] for name, script in _SCRIPTS.items()})
        self.service: RuntimeService = runtime

    def sandbox_config(self) -> PodSandboxConfig:
        uid = PodUID(f"u{next(self._uids)}")
        return PodSandboxConfig(namespace="default", name="web", uid=uid, hostname="web", log_directory=Path("/x"))

    def behaving(self, behaviour: Behaviour) -> ContainerConfig:
        return ContainerConfig(name=behaviour, attempt=0, image_id=ImageId("i"), image_ref="i", log_path=Path("/x"))

    async def wait_up(self, container_id: ContainerId) -> None:
        return None


class TestFakeRuntime(RuntimeContract):
    @pytest.fixture
    def subject(self) -> Subject:
        return FakeSubject()

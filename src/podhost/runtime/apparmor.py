"""AppArmor: the profile that containers have by default, and which profile a container gets.

What the default allows and denies is what containerd's does: everything that capabilities and file permissions
allow, but no mounts, no writes to what of ``/proc`` and ``/sys`` is the machine's, and signals and traces only among
containers.  It is loaded under podhost's own name and stays loaded: taking it away would free those whom it confines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from podhost.cri.runtime import ContainerStartError, SecurityConfig
from podhost.linux import security_modules, spawn

_log = logging.getLogger(__name__)

DEFAULT_PROFILE = "podhost-default"
_POLICY = Path("/etc/apparmor.d")
_LOAD_TIMEOUT_S = 60.0
_ABI = "abi/3.0"
"""What the rules were written for.  Unpinned, newer kernels would also deny classes that they do not speak of."""

_DENIED = (
    # Of /proc, processes may write to what is theirs, and to the limits of System V shared memory.
    "@{PROC}/* w",
    "@{PROC}/[^0-9s]*/** w",
    "@{PROC}/s[^y]*/** w",
    "@{PROC}/sys/[^k]** w",
    "@{PROC}/sys/k[^e]** w",
    "@{PROC}/sys/ke[^r]** w",
    "@{PROC}/sys/kernel/[^s]** w",
    "@{PROC}/sys/kernel/s[^h]** w",
    "@{PROC}/sys/kernel/sh[^m]** w",
    "@{PROC}/{kcore,sysrq-trigger} rwklx",
    # Of /sys, to the cgroups, where they are not mounted read-only.
    "/sys/[^f]*/** wklx",
    "/sys/f[^s]*/** wklx",
    "/sys/fs/[^c]*/** wklx",
    "/sys/fs/c[^g]*/** wklx",
    "/sys/{firmware,kernel/security,devices/virtual/powercap}/** rwklx",
)
_SIGNAL_SENDERS = ("unconfined", "runc", "crun")
"""Distributions confine the OCI runtimes by profiles of these names."""


def build_default_profile(daemon_label: str, has_policy_file: Callable[[str], bool]) -> str:
    """The default profile's text.  Pure.

    ``daemon_label`` is what confines the daemon, which signals containers; ``has_policy_file`` tells whether a file
    is there below ``/etc/apparmor.d``.
    """
    head = [f"abi <{_ABI}>,"] if has_policy_file(_ABI) else []
    head.append("#include <tunables/global>" if has_policy_file("tunables/global") else "@{PROC}=/proc/")
    rules = ["#include <abstractions/base>"] if has_policy_file("abstractions/base") else []
    rules += ["network,", "capability,", "file,", "umount,", "deny mount,"]
    rules += [f"deny {rule}," for rule in _DENIED]
    senders = dict.fromkeys((*_SIGNAL_SENDERS, daemon_label))
    rules += [f'signal (receive) peer="{sender}",' for sender in senders]
    rules.append(f"signal (send, receive) peer={DEFAULT_PROFILE},")
    rules.append(f"ptrace (trace, tracedby, read, readby) peer={DEFAULT_PROFILE},")
    body = "\n".join(f"  {rule}" for rule in rules)
    flags = "flags=(attach_disconnected, mediate_deleted)"
    return "\n".join([*head, "", f"profile {DEFAULT_PROFILE} {flags} {{", body, "}", ""])


def choose_profile(security: SecurityConfig) -> str:
    """Name of the profile that a container asks for, empty for none.  Pure."""
    wanted = security.apparmor_profile
    if wanted == "Unconfined" or (wanted == "RuntimeDefault" and security.privileged):
        return ""
    return DEFAULT_PROFILE if wanted == "RuntimeDefault" else wanted.removeprefix("localhost/")


@dataclass(slots=True)
class AppArmor:
    """The machine's AppArmor, as containers get it.  Without it, or without its parser, they get no profile."""

    parser: Path | None
    enabled: bool = False

    async def open(self) -> None:
        """Load the default profile.  Where the kernel refuses it, containers run without, and the log says why."""
        if not self.enabled:
            return
        try:
            await self._load()
        except (spawn.CommandError, TimeoutError, OSError) as error:
            self.enabled = False
            _log.warning("containers run without AppArmor's default profile: %s", error)

    async def find_profile(self, security: SecurityConfig) -> str:
        """The profile of a container's processes, loaded; empty for none.

        Raises:
            ContainerStartError: The host has not loaded the profile; with containerd's words.
        """
        name = choose_profile(security) if self.enabled else ""
        if not name:
            return ""
        try:
            if name in await asyncio.to_thread(security_modules.list_apparmor_profiles):
                return name
            if name == DEFAULT_PROFILE:
                # Somebody has thrown away the machine's profiles.
                await self._load()
                return name
        except (spawn.CommandError, TimeoutError, OSError) as error:
            raise _refuse(str(error)) from error
        raise _refuse(f"apparmor profile not found {name}")

    async def _load(self) -> None:
        label = security_modules.read_own_apparmor_label()
        text = build_default_profile(label, lambda name: (_POLICY / name).exists())
        # -K: nothing of it is kept in the distribution's cache; -r: in place of what has the name already.
        command = [str(self.parser), "-Kr"]
        await spawn.run(command, input=text.encode(), timeout_s=_LOAD_TIMEOUT_S)


def _refuse(cause: str) -> ContainerStartError:
    text = f"failed to get container spec opts: failed to generate apparmor spec opts: {cause}"
    return ContainerStartError(text, reason="CreateContainerError")


def find_apparmor(parser: Path | None) -> AppArmor:
    """AppArmor where the kernel has it and its parser is installed."""
    return AppArmor(parser, enabled=parser is not None and security_modules.has_apparmor())

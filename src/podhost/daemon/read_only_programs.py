"""Programs shown at a second place, read only.

crun does not let a container overwrite it through ``/proc/PID/exe`` (CVE-2019-5736): at each start it binds itself
read only somewhere in ``/tmp`` and starts again from there, unless it runs from a read-only mount already.  Given one
it starts once: an exec costs a third less, and no mount is made and taken away, for which all processors are waited.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from podhost.linux import mount
from podhost.linux.fs import ensure_directory
from podhost.runtime.settings import OciRuntime, RuntimeSettings

_log = logging.getLogger(__name__)
_ELF = b"\x7fELF"


def show_crun_read_only(settings: RuntimeSettings, directory: Path) -> RuntimeSettings:
    """The settings with crun, also under other names, at read-only places below ``directory``.

    To be called in the daemon's own mount namespace, where the mounts stay.  Blocking; never raises.
    """
    paths = {"": settings.crun_path, **settings.handlers}
    shown = {
        name: show_read_only(path, directory / f"handler-{name}")
        for name, path in paths.items()
        if path is not None and OciRuntime(path).kind == "crun"
    }
    return replace(
        settings,
        crun_path=shown.pop("", settings.crun_path),
        handlers={**settings.handlers, **shown},
    )


def show_read_only(program: Path, directory: Path) -> Path:
    """Where it can be run from; ``program`` itself for scripts, which know where they lie, and where it fails."""
    target = directory / program.name
    try:
        with program.open("rb") as file:
            if file.read(len(_ELF)) != _ELF:
                return program
        if mount.is_mount_point(target):
            if os.path.samestat(program.stat(), target.stat()):
                return target
            mount.unmount(target)  # It has been replaced since.
        ensure_directory(directory, 0o755)
        target.touch()
        mount.bind_mount(program, target, read_only=True, recursive=False)
    except OSError as error:
        _log.info("cannot show %s read only, it will do so itself: %s", program, error)
        return program
    return target

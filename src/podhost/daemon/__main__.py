"""``python -m podhost.daemon``: what ``podhost serve`` runs."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from podhost.aiokit import failpoint
from podhost.daemon import memory
from podhost.daemon.instance import enter_instance
from podhost.daemon.notify import Supervisor, notify_starter
from podhost.daemon.settings import find_ready_fd, parse_settings
from podhost.errors import PodhostError, describe_cause


def main(argv: list[str]) -> int:
    """Exit code 0 after an orderly end, 1 when the daemon cannot run."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    memory.set_limits()
    ready_fd = find_ready_fd(argv)
    try:
        settings = parse_settings(argv)
        if settings.verbose:
            logging.getLogger("podhost").setLevel(logging.DEBUG)
        failpoint.configure(os.environ)
        supervisor = Supervisor.take_from(os.environ)
        instance = enter_instance(settings)
        # Imported late: entering the namespace needs a process with one thread, whatever imports may start.
        from podhost.daemon.app import run_daemon

        memory.freeze_modules()
        asyncio.run(run_daemon(settings, instance, supervisor))
    except (PodhostError, OSError) as error:
        cause = describe_cause(error)
        logging.getLogger("podhost").error("%s", cause)
        notify_starter(ready_fd, f"error: {cause}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

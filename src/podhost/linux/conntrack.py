"""Connection tracking entries, through the ``conntrack`` tool where it is installed."""

from __future__ import annotations

import shutil

from podhost.linux import spawn


async def delete_udp_flows(address: str, port: int) -> None:
    """Forget flows that were translated to an endpoint.  Without the tool they time out after 30 to 120 s."""
    if shutil.which("conntrack"):
        argv = ["conntrack", "-D", "-p", "udp", "--reply-src", address, "--reply-port-src", str(port)]
        # Exit status 1 says that there was none.
        await spawn.run(argv, check=False, timeout_s=10)

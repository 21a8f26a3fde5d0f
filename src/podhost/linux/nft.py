"""nftables through the ``nft`` tool: whole scripts, each one atomic transaction.

Tables of one program are its own: nothing here reads or changes another's.
"""

from __future__ import annotations

import json
from typing import Any

from podhost.linux import spawn

_NFT = "nft"


async def apply(script: str) -> None:
    """Carry out a script as one transaction: all of it, or nothing.

    Raises:
        CommandError: With nft's words.
    """
    await spawn.run([_NFT, "-f", "-"], input=script.encode())


async def list_tables(family: str = "ip") -> set[str]:
    """Names of all tables of a family."""
    return {table["name"] for table in await _list("tables", "table") if table["family"] == family}


async def list_dropping_chains() -> set[str]:
    """Base chains of others that drop by policy, as ``family table chain hook``."""
    return {
        f"{chain['family']} {chain['table']} {chain['name']} {chain['hook']}"
        for chain in await _list("chains", "chain")
        if chain.get("policy") == "drop" and chain.get("hook") in ("forward", "input")
    }


async def delete_table(name: str, family: str = "ip") -> None:
    """Remove a table with everything in it.  Idempotent: declaring it first makes the deletion always valid."""
    await apply(f"table {family} {name}\ndelete table {family} {name}\n")


async def _list(what: str, kind: str) -> list[dict[str, Any]]:
    result = await spawn.run([_NFT, "-j", "list", what])
    return [entry[kind] for entry in json.loads(result.stdout)["nftables"] if kind in entry]

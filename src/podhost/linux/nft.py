"""nftables through the ``nft`` tool: whole scripts, each one atomic transaction.

Tables of one program are its own: nothing here changes another's.
"""

from __future__ import annotations

import json
from typing import Any

from podhost.linux import spawn
from podhost.linux.spawn import CommandError

_NFT = "nft"


async def apply(script: str) -> None:
    """Carry out a script as one transaction: all of it, or nothing.

    Raises:
        CommandError: With nft's words.
    """
    await spawn.run([_NFT, "-f", "-"], input=script.encode())


async def list_tables(family: str = "ip") -> set[str]:
    """Names of all tables of a family."""
    return {table["name"] for table in await _list("tables", kind="table") if table["family"] == family}


async def list_tables_with_map(name: str, family: str = "ip") -> set[str]:
    """Names of the tables of a family that have a map of this name."""
    maps = await _list("maps", kind="map", options=("--terse",))
    return {found["table"] for found in maps if (found["family"], found["name"]) == (family, name)}


async def list_maps(table: str, family: str = "ip") -> dict[str, list[Any]]:
    """Elements of the maps of a table, by the maps' names, as nft's JSON has them; empty when the table has gone."""
    try:
        maps = await _list("table", family, table, kind="map")
    except CommandError:
        if table not in await list_tables(family):
            return {}
        raise
    return {found["name"]: found.get("elem", []) for found in maps}


async def list_dropping_chains() -> set[str]:
    """Base chains of others that drop by policy, as ``family table chain hook``."""
    return {
        f"{chain['family']} {chain['table']} {chain['name']} {chain['hook']}"
        for chain in await _list("chains", kind="chain")
        if chain.get("policy") == "drop" and chain.get("hook") in ("forward", "input")
    }


async def delete_table(name: str, family: str = "ip") -> None:
    """Remove a table with everything in it.  Idempotent: declaring it first makes the deletion always valid."""
    await apply(f"table {family} {name}\ndelete table {family} {name}\n")


async def _list(*words: str, kind: str, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    result = await spawn.run([_NFT, "-j", *options, "list", *words])
    return [entry[kind] for entry in json.loads(result.stdout)["nftables"] if kind in entry]

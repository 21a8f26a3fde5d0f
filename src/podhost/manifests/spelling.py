"""The nearest of the names that are valid at a place."""

from __future__ import annotations

from collections.abc import Iterable

SLIPS = {
    "cpus": ("cpu",),
    "cmd": ("command",),
    "delaySeconds": ("initialDelaySeconds",),
    "entrypoint": ("command",),
    "environment": ("env",),
    "exposedPort": ("containerPort",),
    "http": ("httpGet",),
    "interval": ("periodSeconds",),
    "intervalSeconds": ("periodSeconds",),
    "mem": ("memory",),
    "mountpath": ("mountPath",),
    "path": ("mountPath",),
    "port": ("containerPort",),
    "restart": ("restartPolicy",),
    "retries": ("failureThreshold",),
    "tcp": ("tcpSocket",),
    "timeout": ("timeoutSeconds",),
    "volumes": ("volumeMounts",),
}
"""Words of other tools, and short ones, with the fields that they stand for."""


def meant_name(word: str, names: Iterable[str]) -> str:
    """The field that a word stands for, by its letters or by what other tools call it; empty when none does."""
    known = set(names)
    slip = next((name for name in SLIPS.get(word, ()) if name in known), "")
    return slip or nearest_name(word, known)


def nearest_name(word: str, names: Iterable[str]) -> str:
    """The name that was probably meant; empty when none is near."""
    best, best_distance = "", 1 + max(1, len(word) // 3)
    lower = word.lower().replace("_", "").replace("-", "")
    for name in sorted(names):
        target = name.lower()
        if abs(len(target) - len(lower)) >= best_distance:
            continue
        distance = compute_distance(lower, target)
        if distance < best_distance:
            best, best_distance = name, distance
    return best


def compute_distance(left: str, right: str) -> int:
    """Edits from one word to the other; two neighbours swapped count as one (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        following = [i]
        for j, b in enumerate(right, 1):
            cost = min(row[j] + 1, following[j - 1] + 1, row[j - 1] + (a != b))
            if before and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            following.append(cost)
        before, row = row, following
    return row[-1]

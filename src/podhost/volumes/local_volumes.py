"""Directories of persistent volumes that the local provisioner makes.  They outlive pods, claims' users and daemons."""

from __future__ import annotations

from pathlib import Path

from podhost.linux import fs


class LocalVolumes:
    """One directory a volume below ``root``.  Blocking."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def ensure(self, name: str) -> Path:
        """The directory of a volume, empty when it was not there.  Raises OSError."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = self._root / name
        # As with an emptyDir: whoever the container runs as may write.
        fs.ensure_directory(directory, 0o777)
        return directory

    def remove(self, path: str) -> None:
        """Delete a volume's directory with all that is in it.  Idempotent.

        Raises:
            ValueError: It is none of ours.
            OSError: Something cannot be deleted.
        """
        directory = Path(path)
        if directory.parent != self._root or directory.name in ("", ".", ".."):
            raise ValueError(f"cannot delete {path}: it is not a directory of the local provisioner")
        fs.remove_tree(directory)

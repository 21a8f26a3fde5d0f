"""Layers become what overlayfs wants; hostile ones stay in their directory."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from registry import make_tar


def _info(name: str, kind: bytes = tarfile.REGTYPE, **attributes: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def _unpack(tmp_path: Path, data: bytes, *, name: str = "layer") -> Path:
    """In a child, as chroot cannot be taken back.  Raises CalledProcessError with the error on stderr."""
    target = tmp_path / name
    target.mkdir()
    target.chmod(0o755)
    blob = tmp_path / f"{name}.tar"
    blob.write_bytes(data)
    script = (
        "import sys\nfrom podhost.images.unpack_main import unpack_layer\n"
        "from registry import digest_of\n"
        "d = digest_of(open(sys.argv[1], 'rb').read())\n"
        "print(unpack_layer(sys.argv[1], sys.argv[2], 'none', d, d))\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, "-c", script, str(blob), str(target)]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return target


def test_files_keep_mode_owner_time_and_links(tmp_path: Path) -> None:
    layer = _unpack(
        tmp_path,
        make_tar(
            _info("bin", tarfile.DIRTYPE, mode=0o1777, uid=7, gid=8, mtime=1000),
            _info("bin/su", mode=0o4755, uid=1, gid=2, mtime=2000.5),
            _info("bin/hard", tarfile.LNKTYPE, linkname="bin/su"),
            _info("bin/soft", tarfile.SYMTYPE, linkname="/etc/passwd", mtime=3000),
            _info("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
            _info("dev/pipe", tarfile.FIFOTYPE, uid=5),
        ),
    )
    su = os.stat(layer / "bin/su")
    assert (stat.S_IMODE(su.st_mode), su.st_uid, su.st_gid, su.st_mtime) == (0o4755, 1, 2, 2000.5)
    assert os.stat(layer / "bin/hard").st_ino == su.st_ino
    folder = os.stat(layer / "bin")
    assert (stat.S_IMODE(folder.st_mode), folder.st_uid, folder.st_gid, folder.st_mtime) == (0o1777, 7, 8, 1000)
    assert os.readlink(layer / "bin/soft") == "/etc/passwd"
    assert os.lstat(layer / "bin/soft").st_mtime == 3000
    null = os.stat(layer / "dev/null")
    assert stat.S_ISCHR(null.st_mode)
    assert (null.st_rdev, stat.S_IMODE(null.st_mode)) == (os.makedev(1, 3), 0o666)
    assert stat.S_ISFIFO(os.stat(layer / "dev/pipe").st_mode)


def test_whiteouts_become_devices_and_opaque_directories_get_the_attribute(tmp_path: Path) -> None:
    layer = _unpack(
        tmp_path,
        make_tar(
            _info("gone", tarfile.DIRTYPE),
            _info("gone/.wh.file"),
            _info("fresh/.wh..wh..opq"),
            ("fresh/new", b"x"),
            _info(".wh..wh.plnk"),
        ),
    )
    info = os.stat(layer / "gone/file")
    assert stat.S_ISCHR(info.st_mode)
    assert info.st_rdev == 0
    assert os.getxattr(layer / "fresh", "trusted.overlay.opaque") == b"y"
    assert sorted(os.listdir(layer)) == ["fresh", "gone"]


@pytest.mark.parametrize("whiteout_first", [True, False])
def test_whiteout_hides_only_what_lies_below_the_layer(tmp_path: Path, *, whiteout_first: bool) -> None:
    whiteout = [_info(".wh.file"), _info(".wh.folder")]
    new: list[tarfile.TarInfo | tuple[str, bytes]] = [("file", b"new"), _info("folder", tarfile.DIRTYPE)]
    layer = _unpack(tmp_path, make_tar(*((*whiteout, *new) if whiteout_first else (*new, *whiteout))))
    assert (layer / "file").read_bytes() == b"new"
    assert os.getxattr(layer / "folder", "trusted.overlay.opaque") == b"y"


def test_capabilities_and_user_attributes_are_kept_and_overlay_attributes_are_not(tmp_path: Path) -> None:
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)
    headers = {
        "SCHILY.xattr.security.capability": capability.decode("latin-1"),
        "SCHILY.xattr.user.mine": "value",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
    }
    layer = _unpack(tmp_path, make_tar(_info("ping", pax_headers=headers)))
    assert sorted(os.listxattr(layer / "ping")) == ["security.capability", "user.mine"]
    assert os.getxattr(layer / "ping", "security.capability") == capability


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=posix"], ["--format=posix", "--sparse-version=0.0"],
                                     ["--format=posix", "--sparse-version=0.1"]])  # fmt: skip
def test_sparse_files_stay_sparse_in_every_format_of_gnu_tar(tmp_path: Path, options: list[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "sparse").open("wb") as file:
        for index in range(30):
            file.seek(index << 20)
            file.write(b"data%d" % index)
        file.truncate(40 << 20)
    (source / "after").write_bytes(b"behind it")
    data = subprocess.run(
        ["tar", "-C", str(source), "--sparse", *options, "-cf", "-", "sparse", "after"],
        check=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    layer = _unpack(tmp_path, data)
    assert (layer / "sparse").read_bytes() == (source / "sparse").read_bytes()
    assert os.stat(layer / "sparse").st_blocks * 512 < 4 << 20
    assert (layer / "after").read_bytes() == b"behind it"


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_large_numbers_are_read(tmp_path: Path, format: int) -> None:
    name = "/".join(["directory" * 10] * 4) + "/ünïcode"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        archive.addfile(_info(name, uid=3_000_000_000, gid=4_000_000))
        archive.addfile(_info("link", tarfile.SYMTYPE, linkname="t" * 300))
    layer = _unpack(tmp_path, buffer.getvalue())
    info = os.stat(layer / name)
    assert (info.st_uid, info.st_gid) == (3_000_000_000, 4_000_000)
    assert os.readlink(layer / "link") == "t" * 300


@pytest.mark.parametrize(
    "members",
    [
        [_info("../escaped")],
        [_info("a/../../escaped")],
        [_info("../../escaped", tarfile.DIRTYPE)],
        [_info("x", tarfile.LNKTYPE, linkname="../escaped-source")],
        [_info(".wh...")],
        [_info("a/.wh..")],
    ],
)
def test_names_that_climb_out_are_refused(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    with pytest.raises(RuntimeError, match=r"leads out of the layer|bad whiteout"):
        _unpack(tmp_path, make_tar(*members))
    assert not (tmp_path / "escaped").exists()


def test_absolute_names_and_symlinked_parents_stay_inside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    layer = _unpack(
        tmp_path,
        make_tar(
            ("/absolute", b"1"),
            _info("up", tarfile.SYMTYPE, linkname="../../../../../../.."),
            ("up/through-dots", b"2"),
            _info("link", tarfile.SYMTYPE, linkname=str(outside)),
            _info(str(outside).lstrip("/"), tarfile.DIRTYPE),
            ("link/through-link", b"3"),
            _info("link/.wh.victim"),
        ),
    )
    assert (layer / "absolute").read_bytes() == b"1"
    assert (layer / "through-dots").read_bytes() == b"2"
    assert (layer / str(outside).lstrip("/") / "through-link").read_bytes() == b"3"
    assert list(outside.iterdir()) == []


def test_file_over_a_symlink_replaces_the_link_and_leaves_its_target_alone(tmp_path: Path) -> None:
    layer = _unpack(
        tmp_path,
        make_tar(("target", b"old"), _info("name", tarfile.SYMTYPE, linkname="target"), ("name", b"new")),
    )
    assert (layer / "target").read_bytes() == b"old"
    assert (layer / "name").read_bytes() == b"new"
    assert not (layer / "name").is_symlink()


def test_file_over_a_device_does_not_write_to_the_device(tmp_path: Path) -> None:
    layer = _unpack(
        tmp_path,
        make_tar(_info("zero", tarfile.CHRTYPE, devmajor=1, devminor=5), ("zero", b"data")),
    )
    assert stat.S_ISREG(os.lstat(layer / "zero").st_mode)


def test_hard_link_to_an_outside_file_through_a_symlink_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    members = [
        _info("out", tarfile.SYMTYPE, linkname=str(tmp_path)),
        _info("stolen", tarfile.LNKTYPE, linkname="out/secret"),
    ]
    with pytest.raises(RuntimeError, match="No such file"):
        _unpack(tmp_path, make_tar(*members))
    assert os.stat(secret).st_nlink == 1


def test_directory_becomes_a_file_and_back_within_one_layer(tmp_path: Path) -> None:
    layer = _unpack(
        tmp_path,
        make_tar(
            _info("a", tarfile.DIRTYPE, mtime=5), ("a/b/c", b"1"), ("a", b"2"),
            ("x", b"3"), _info("x", tarfile.DIRTYPE), ("x/y", b"4"),
        ),
    )  # fmt: skip
    assert (layer / "a").read_bytes() == b"2"
    assert (layer / "x/y").read_bytes() == b"4"


@pytest.mark.parametrize("cut", [100, 512, 700, 1024])
def test_truncated_tar_is_refused(tmp_path: Path, cut: int) -> None:
    data = make_tar(("file", b"x" * 900))[: 512 + 900 + 124]
    with pytest.raises(RuntimeError, match="unexpected end"):
        _unpack(tmp_path, data[:cut])


def test_damaged_header_is_refused(tmp_path: Path) -> None:
    data = bytearray(make_tar(("file", b"x")))
    data[0] ^= 1
    with pytest.raises(RuntimeError, match="checksum"):
        _unpack(tmp_path, bytes(data))

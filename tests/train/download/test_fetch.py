"""Fetching the set from local folders and archives."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest
from rich.progress import Progress

from edge.errors import UserError
from tests.support.http_server import FileServer
from tests.support.small_set import (
    FILES,
    IMAGE,
    MASK,
    REPOSITORY,
    fetch_error,
    fetch_set,
    make_set,
    read_set,
    write_set,
    zipped,
)
from train.data.fireseg import load_dataset
from train.download import archive
from train.download.archive import choose, unpack
from train.download.fetch import fetch


def test_a_nested_folder_is_copied_whole_and_left_unchanged(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in" / REPOSITORY, FILES)
    (source / "images_prepped_train" / "Thumbs.db").write_bytes(b"x")
    fetched = fetch_set(out, tmp_path / "in")
    assert fetched.is_published and not fetched.already_there
    assert read_set(out) == FILES
    assert len(load_dataset(out).pairs) == 8
    assert read_set(source).keys() > FILES.keys()
    assert list(out.parent.iterdir()) == [out], "the staging folder is removed"


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_an_archive_is_unpacked(tmp_path: Path, out: Path, suffix: str) -> None:
    source = tmp_path / f"fireseg{suffix}"
    if suffix == ".zip":
        source.write_bytes(zipped(FILES))
    else:
        with tarfile.open(source, f"w:{suffix[5:]}") as target:  # type: ignore[call-overload]
            target.add(write_set(tmp_path / "in", FILES), "Fire Dataset")
    assert fetch_set(out, source).is_published
    assert read_set(out) == FILES


def test_the_several_zips_of_a_browser_download_make_one_set(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    names = list(FILES)
    for number in (0, 1):
        part = {name: FILES[name] for name in names[number::2]}
        (folder / f"Fire Dataset-00{number}.zip").write_bytes(zipped(part, "Fire Dataset"))
    assert fetch_set(out, folder).is_published


def test_binary_masks_are_used_if_there_are_no_others(tmp_path: Path, out: Path) -> None:
    renamed = {name.replace("annotations_prepped", "annotations_binary"): data for name, data in FILES.items()}
    assert fetch_set(out, write_set(tmp_path / "in", renamed)).is_published
    assert read_set(out) == FILES


def test_prepped_masks_precede_binary_ones_and_the_fullest_copy_the_others(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in" / "deep" / "er", FILES)
    write_set(source, {MASK.replace("prepped", "binary"): b"another"})
    write_set(tmp_path / "in", {IMAGE: b"a lone sample"})
    assert fetch_set(out, tmp_path / "in").is_published


def test_a_mac_s_shadow_files_are_not_a_second_copy() -> None:
    paths = [PurePosixPath("__MACOSX/set/images_prepped_train/._img(2).jpg"), PurePosixPath(f"set/{IMAGE}")]
    assert choose(paths, [IMAGE]) == {IMAGE: paths[1]}


def test_a_copy_with_other_sizes_and_0_1_masks_is_a_warning_with_counts(tmp_path: Path, out: Path) -> None:
    fetched = fetch_set(out, write_set(tmp_path / "in", make_set(width=24, fire=1)))
    assert len(fetched.changed) == 16
    assert "0 of 16 files are the published bytes, 16 differ" in str(fetched)
    assert load_dataset(out).pairs[0].read()[1].any()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({name: data for name, data in FILES.items() if name != MASK}, [f"lacks 1 of 16 files ({MASK})"]),
        ({name: FILES[name] for name in (IMAGE, MASK)}, ["lacks 14 of 16 files", "and 4 more"]),
        (FILES | {IMAGE: FILES[IMAGE][:-40]}, ["1 of FireSeg's pairs cannot be used", "img(2).jpg"]),
        (FILES | {MASK: make_set(width=24)[MASK]}, ["expected one size for both"]),
        ({"photos/img(1).jpg": FILES[IMAGE]}, ["does not contain FireSeg: expected images_prepped_train/"]),
    ],
    ids=["one missing", "many missing", "cut image", "mask of another size", "another layout"],
)
def test_an_incomplete_or_broken_source_is_refused_whole(
    tmp_path: Path, out: Path, files: dict[str, bytes], expected: list[str]
) -> None:
    message = fetch_error(out, write_set(tmp_path / "in", files))
    assert all(text in message for text in expected)
    assert not out.exists()


def test_a_path_that_does_not_exist_lists_the_possible_sources(tmp_path: Path, out: Path) -> None:
    assert "expected mirror, drive, a folder" in fetch_error(out, tmp_path / "absent.zip")


def flip_byte(data: bytes) -> bytes:
    at = len(data) - len(data) // 4
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (zipped(FILES)[:-300], "expected a whole zip or tar"),
        (zipped(FILES)[:200], "expected a whole zip or tar"),
        (flip_byte(zipped(FILES)), "is damaged (Bad CRC-32"),
        (zipped({IMAGE: bytes(1 << 20)}).replace((1 << 20).to_bytes(4, "little"), bytes([232, 3, 0, 0])), "is damaged"),
    ],
    ids=["truncated", "beginning", "flipped byte", "larger than declared"],
)
def test_a_damaged_zip_is_refused(tmp_path: Path, out: Path, data: bytes, expected: str) -> None:
    (tmp_path / "fireseg.zip").write_bytes(data)
    assert expected in fetch_error(out, tmp_path / "fireseg.zip")
    assert not out.exists()


@pytest.mark.parametrize("member", ["../escaped.jpg", "/etc/escaped.jpg", "a\\..\\..\\escaped.jpg", "C:/escaped.jpg"])
def test_an_archive_with_a_member_that_leads_out_of_it_is_refused(tmp_path: Path, out: Path, member: str) -> None:
    source = tmp_path / "fireseg.zip"
    source.write_bytes(zipped(FILES))
    with zipfile.ZipFile(source, "a") as target:
        target.writestr(member, b"x")
    assert "leads out of the archive" in fetch_error(out, source)
    assert not list(tmp_path.rglob("escaped*"))


def test_a_link_in_an_archive_is_never_followed(tmp_path: Path, out: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(FILES[IMAGE])
    with tarfile.open(tmp_path / "fireseg.tar", "w") as target:
        target.add(write_set(tmp_path / "in", {n: d for n, d in FILES.items() if n != IMAGE}), "set")
        link = tarfile.TarInfo(f"set/{IMAGE}")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        target.addfile(link)
    assert f"lacks 1 of 16 files ({IMAGE})" in fetch_error(out, tmp_path / "fireseg.tar")


def test_an_archive_above_the_size_limit_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "fireseg.zip"
    source.write_bytes(zipped(FILES))
    with pytest.raises(UserError, match="is refused: it unpacks to more than"):
        unpack(source, tmp_path / "out", FILES, limit_bytes=1000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_small_tar_whose_header_unpacks_to_gigabytes_is_refused(tmp_path: Path, kind: Literal[1, 2]) -> None:
    member = tarfile.TarInfo("pax")
    member.type = tarfile.XHDTYPE if kind == tarfile.PAX_FORMAT else tarfile.GNUTYPE_LONGNAME
    member.size = 4 << 30
    source = tmp_path / "fireseg.tar.xz"
    with lzma.open(source, "wb") as target:
        target.write(member.tobuf(format=kind))
        target.write(bytes(100_000))
    with pytest.raises(UserError, match="is refused: its headers are above 64 MiB"):
        unpack(source, tmp_path / "out", FILES)


def test_a_sparse_member_is_not_unpacked(tmp_path: Path) -> None:
    member = tarfile.TarInfo(IMAGE)
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(format=tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (0, 0)  # one empty block
    header[483:495] = b"%011o\0" % (20 << 20)  # the real size
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(b" " * 8) + sum(header[156:]))
    (tmp_path / "fireseg.tar").write_bytes(bytes(header) + bytes(1024))
    with tarfile.open(tmp_path / "fireseg.tar") as tar:
        assert tar.getmembers()[0].size == 20 << 20, "the header is a valid one"
    with pytest.raises(UserError, match="does not contain FireSeg"):
        unpack(tmp_path / "fireseg.tar", tmp_path / "out", FILES)


def test_files_too_large_for_the_set_are_refused_before_anything_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "fireseg.zip"
    source.write_bytes(zipped(FILES))
    monkeypatch.setattr(archive, "MAX_SET_BYTES", 5000)
    with pytest.raises(UserError, match=r"its images and masks are 0 MiB: expected at most"):
        unpack(source, tmp_path / "out", FILES)
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 100)
    with pytest.raises(UserError, match=r"its member '.*img\(\d\)\.jpg' is 0 MiB: expected at most"):
        unpack(source, tmp_path / "out", FILES)
    assert not (tmp_path / "out").exists()


def test_a_zip_with_a_compression_that_cannot_be_bounded_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "fireseg.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_LZMA) as target:
        target.writestr(IMAGE, FILES[IMAGE])
    with pytest.raises(UserError, match="has an unusual compression: expected a zip with Deflate"):
        unpack(source, tmp_path / "out", FILES)


def test_the_shadow_file_that_macos_writes_beside_an_archive_is_skipped(tmp_path: Path, out: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "fireseg.zip").write_bytes(zipped(FILES))
    (tmp_path / "in" / "._fireseg.zip").write_bytes(b"\0\5\x16\7")
    assert fetch_set(out, tmp_path / "in").is_published


def test_a_complete_set_is_verified_and_left_unchanged(tmp_path: Path, out: Path) -> None:
    write_set(out, FILES)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    fetched = fetch_set(out, tmp_path / "a source that does not exist")
    assert fetched.already_there and fetched.is_published
    assert str(fetched).startswith("already there: ")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_missing_and_broken_files_of_a_published_set_are_filled_in(tmp_path: Path, out: Path) -> None:
    published = {name: data for name, data in FILES.items() if name != MASK and "test" not in name}
    write_set(out, published | {IMAGE: FILES[IMAGE][:-40]})
    assert fetch_set(out, write_set(tmp_path / "in", FILES)).is_published
    assert read_set(out) == FILES


def test_a_pair_of_two_sizes_in_an_existing_set_is_an_error(tmp_path: Path, out: Path) -> None:
    write_set(out, FILES | {MASK: make_set(width=24)[MASK]})
    assert "expected one size for both" in fetch_error(out, tmp_path)


def test_half_a_set_of_changed_files_is_not_mixed_with_others(tmp_path: Path, out: Path) -> None:
    write_set(out, {IMAGE: make_set(width=24)[IMAGE]})
    assert "move it away or choose another --out" in fetch_error(out, write_set(tmp_path / "in", FILES))


def test_a_file_at_the_target_path_is_refused(tmp_path: Path, out: Path) -> None:
    out.parent.mkdir(parents=True)
    out.write_text("mine")
    assert "is a file: expected a folder" in fetch_error(out, write_set(tmp_path / "in", FILES))
    assert out.read_text() == "mine"


def test_files_missing_in_one_source_come_from_the_next(tmp_path: Path, out: Path, server: FileServer) -> None:
    fetch_error(out, write_set(tmp_path / "in", {name: data for name, data in FILES.items() if name != MASK}))
    server.files["rest.zip"] = zipped({MASK: FILES[MASK]})
    assert fetch_set(out, f"{server.address}/rest.zip").is_published


def test_ctrl_c_leaves_the_files_copied_so_far_to_resume_from(tmp_path: Path, out: Path) -> None:
    class Interrupted(Progress):
        def update(self, *args: object, **fields: object) -> None:
            if fields["completed"] == 5:
                raise KeyboardInterrupt

    source = write_set(tmp_path / "in", FILES)
    with pytest.raises(KeyboardInterrupt):
        fetch_set(out, source, progress=Interrupted(disable=True))
    assert not out.exists()
    assert len(read_set(out.parent)) == 5
    assert fetch_set(out, source).is_published


@pytest.mark.slow
def test_a_resized_copy_of_fireseg_is_a_warning(tmp_path: Path, fireseg_dir: Path) -> None:
    out = tmp_path / "fireseg"
    out.symlink_to(fireseg_dir.resolve(), target_is_directory=True)
    fetched = fetch(out, "a source that is never opened")
    assert fetched.already_there and not fetched.missing
    if fetched.is_published:
        pytest.skip("FIRESEG_DIR holds the published bytes")
    assert "differs from the published bytes" in str(fetched)

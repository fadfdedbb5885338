"""Fetching the set from folders and archives of this machine."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.support.http_server import Site
from tests.support.small_set import (
    FILES,
    IMAGE,
    MASK,
    REPOSITORY,
    bring,
    make_set,
    read_set,
    refused,
    write_set,
    zipped,
)
from train.data.fireseg import load_dataset
from train.download import archive
from train.download.archive import choose
from train.download.fetch import fetch
from train.download.remote import Sources


def test_a_nested_folder_is_copied_whole_and_left_as_it_was(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in" / REPOSITORY, FILES)
    (source / "images_prepped_train" / "Thumbs.db").write_bytes(b"x")
    fetched = bring(out, tmp_path / "in")
    assert fetched.verification.is_published and not fetched.already_there and fetched.warning is None
    assert read_set(out) == FILES
    assert len(load_dataset(out).pairs) == 8
    assert read_set(source).keys() > FILES.keys()
    assert list(out.parent.iterdir()) == [out], "the staging folder is gone"


def test_a_zip_is_unpacked(tmp_path: Path, out: Path) -> None:
    source = tmp_path / "fireseg.zip"
    source.write_bytes(zipped(FILES))
    assert bring(out, source).verification.is_published
    assert read_set(out) == FILES


def test_a_compressed_tar_is_unpacked(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", FILES)
    with tarfile.open(tmp_path / "fireseg.tar.gz", "w:gz") as target:
        target.add(source, "Fire Dataset")
    assert bring(out, tmp_path / "fireseg.tar.gz").verification.is_published


def test_the_several_zips_of_a_browser_download_make_one_set(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    names = list(FILES)
    for number in (0, 1):
        part = {name: FILES[name] for name in names[number::2]}
        (folder / f"Fire Dataset-00{number}.zip").write_bytes(zipped(part, "Fire Dataset"))
    assert bring(out, folder).verification.is_published


def test_masks_named_binary_are_taken_where_there_are_no_others(tmp_path: Path, out: Path) -> None:
    renamed = {name.replace("annotations_prepped", "annotations_binary"): data for name, data in FILES.items()}
    fetched = bring(out, write_set(tmp_path / "in", renamed))
    assert fetched.verification.is_published
    assert read_set(out) == FILES


def test_prepped_masks_come_before_binary_ones_and_the_fullest_copy_before_others(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in" / "deep" / "er", FILES)
    write_set(source, {MASK.replace("prepped", "binary"): b"another"})
    write_set(tmp_path / "in", {IMAGE: b"a lone sample"})
    assert bring(out, tmp_path / "in").verification.is_published


def test_a_copy_with_other_sizes_and_masks_of_0_and_1_is_a_warning_with_counts(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", make_set(width=24, fire=1))
    fetched = bring(out, source)
    assert len(fetched.verification.changed) == 16
    assert fetched.warning is not None and "0 of 16 files are the published bytes, 16 differ" in fetched.warning
    assert load_dataset(out).pairs[0].read()[1].any()


def test_a_missing_file_is_named_and_nothing_arrives(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", {name: data for name, data in FILES.items() if name != MASK})
    message = refused(out, source)
    assert f"lacks 1 of 16 files ({MASK})" in message
    assert not out.exists()


def test_many_missing_files_are_counted_after_the_first_ten(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", {name: FILES[name] for name in (IMAGE, MASK)})
    message = refused(out, source)
    assert "lacks 14 of 16 files" in message and "and 4 more" in message


def test_a_cut_picture_is_named_and_nothing_arrives(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", FILES | {IMAGE: FILES[IMAGE][:-40]})
    message = refused(out, source)
    assert "1 of FireSeg's pairs cannot be used" in message and "img(2).jpg is cut short" in message
    assert not out.exists()


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", FILES | {MASK: make_set(width=24)[MASK]})
    assert "expected one size for both" in refused(out, source)


def test_a_source_without_the_layout_says_what_was_expected(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", {"photos/img(1).jpg": FILES[IMAGE]})
    assert "holds no FireSeg: expected images_prepped_train/" in refused(out, source)


def test_a_path_that_is_not_there_lists_what_could_be_given(tmp_path: Path, out: Path) -> None:
    assert "expected mirror, drive, a folder" in refused(out, tmp_path / "absent.zip")


@pytest.mark.parametrize("keep_bytes", [-300, 200])
def test_a_broken_zip_is_refused(tmp_path: Path, out: Path, keep_bytes: int) -> None:
    source = tmp_path / "fireseg.zip"
    source.write_bytes(zipped(FILES)[:keep_bytes])
    assert "expected a whole zip or tar" in refused(out, source)


def test_a_zip_with_a_flipped_byte_is_refused(tmp_path: Path, out: Path) -> None:
    data = bytearray(zipped(FILES))
    data[-len(data) // 4] ^= 0xFF
    source = tmp_path / "fireseg.zip"
    source.write_bytes(data)
    assert "is damaged (Bad CRC-32" in refused(out, source)


@pytest.mark.parametrize("member", ["../escaped.jpg", "/etc/escaped.jpg", "a\\..\\..\\escaped.jpg", "C:/escaped.jpg"])
def test_an_archive_with_a_member_that_leads_out_of_it_is_refused(tmp_path: Path, out: Path, member: str) -> None:
    source = tmp_path / "fireseg.zip"
    source.write_bytes(zipped(FILES))
    with zipfile.ZipFile(source, "a") as target:
        target.writestr(member, b"x")
    assert "leads out of the archive" in refused(out, source)
    assert not list(tmp_path.rglob("escaped*"))


def test_a_link_in_an_archive_is_never_followed(tmp_path: Path, out: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(FILES[IMAGE])
    with tarfile.open(tmp_path / "fireseg.tar", "w") as target:
        target.add(write_set(tmp_path / "in", {n: d for n, d in FILES.items() if n != IMAGE}), "set")
        link = tarfile.TarInfo(f"set/{IMAGE}")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        target.addfile(link)
    assert f"lacks 1 of 16 files ({IMAGE})" in refused(out, tmp_path / "fireseg.tar")


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "fireseg.zip"
    source.write_bytes(zipped(FILES))
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1000)
    assert "is refused: it unpacks to more than" in refused(out, source)
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MAX_PICTURE_BYTES", 100)
    assert "expected a picture" in refused(out, source)


def test_what_is_there_already_is_verified_and_left_alone(tmp_path: Path, out: Path) -> None:
    write_set(out, FILES)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    fetched = bring(out, tmp_path / "a source that is not even there")
    assert fetched.already_there and fetched.verification.is_published
    assert str(fetched).startswith("already there: ")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_broken_picture_in_a_set_that_is_there_already_is_replaced(site: Site, mirror: Sources, out: Path) -> None:
    write_set(out, FILES | {IMAGE: FILES[IMAGE][:-40]})
    assert bring(out, "mirror", sources=mirror).verification.is_published
    assert site.counts == {f"Fire Dataset/{IMAGE}": 1}


def test_a_pair_of_two_sizes_in_a_set_that_is_there_already_is_told(tmp_path: Path, out: Path) -> None:
    write_set(out, FILES | {MASK: make_set(width=24)[MASK]})
    assert "expected one size for both" in refused(out, tmp_path)


def test_the_gaps_of_a_published_set_are_filled(tmp_path: Path, out: Path) -> None:
    write_set(out, {name: data for name, data in FILES.items() if name != IMAGE and "test" not in name})
    assert bring(out, write_set(tmp_path / "in", FILES)).verification.is_published
    assert read_set(out) == FILES


def test_a_half_set_of_changed_files_is_not_mixed_with_others(tmp_path: Path, out: Path) -> None:
    write_set(out, {IMAGE: make_set(width=24)[IMAGE]})
    assert "move it away or choose another --out" in refused(out, write_set(tmp_path / "in", FILES))


def test_a_file_in_the_place_of_the_target_is_refused(tmp_path: Path, out: Path) -> None:
    out.parent.mkdir(parents=True)
    out.write_text("mine")
    assert "is a file: expected a folder" in refused(out, write_set(tmp_path / "in", FILES))
    assert out.read_text() == "mine"


def test_what_one_source_lacks_another_completes(tmp_path: Path, out: Path, site: Site, mirror: Sources) -> None:
    write_set(tmp_path / "in", {name: data for name, data in FILES.items() if name != MASK})
    refused(out, tmp_path / "in")
    assert bring(out, "mirror", sources=mirror).verification.is_published
    assert site.counts == {f"Fire Dataset/{MASK}": 1}


def test_a_resized_copy_of_fireseg_differs_from_the_published_bytes_as_a_warning(tmp_path: Path) -> None:
    if "FIRESEG_DIR" not in os.environ:
        pytest.skip("FIRESEG_DIR is not set: no copy of FireSeg here")
    out = tmp_path / "fireseg"
    out.symlink_to(Path(os.environ["FIRESEG_DIR"]).resolve(), target_is_directory=True)
    fetched = fetch(out, "a source that is never asked")
    assert fetched.already_there and fetched.verification.complete
    if fetched.verification.is_published:
        pytest.skip("FIRESEG_DIR holds the published bytes: nothing differs")
    assert fetched.warning is not None and "differs from the published bytes" in fetched.warning


def test_a_mac_s_shadow_files_are_no_second_copy() -> None:
    paths = [PurePosixPath("__MACOSX/set/images_prepped_train/._img(2).jpg"), PurePosixPath(f"set/{IMAGE}")]
    assert choose(paths, [IMAGE]) == {IMAGE: paths[1]}

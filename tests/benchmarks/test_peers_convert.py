"""One network in every peer's form: which files belong together, what is made again, and what a failure costs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.inputs import calibration_frames, write_frames

from benchmarks.peers import convert
from benchmarks.peers.convert import DataSource, Models, find_source, make_models
from benchmarks.peers.runtimes import Environment, PeerError
from edge.console import no_steps
from edge.errors import UserError
from edge.files import sha256
from export.calibration import candidates_from_pairs, choose
from train.data.sources import find_data
from train.data.splits import Split, make_split

SIDE = 32
FRAMES = np.zeros((2, SIDE, SIDE, 3), np.uint8)
FLATBUFFER = b"a network"


@pytest.fixture
def keras(tmp_path: Path) -> Path:
    """A .keras with its int8 file beside it, as far as their names go."""
    path = tmp_path / "some.keras"
    path.write_bytes(b"weights")
    path.with_name("some-int8.tflite").write_bytes(FLATBUFFER + b" and its card")
    return path


@pytest.fixture
def source(keras: Path, monkeypatch: pytest.MonkeyPatch) -> DataSource:
    monkeypatch.setattr(convert, "split_model", lambda path: (FLATBUFFER, {"keras_sha256": sha256(keras)}))
    monkeypatch.setattr(convert, "_float_tflite", lambda keras, target: target.write_bytes(keras.read_bytes()))
    return find_source(keras, None)


class Converters:
    """Stand in for the programs in the peers' environments: each writes its target, unless told to fail."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.failing = ""

    def run(self, command: list[str], limit_s: float, failure: str, **_: Any) -> None:
        target = Path(command[-1])
        if self.failing and self.failing in target.name:
            raise PeerError(f"{failure}: no such operator")
        self.made.append(target.name)
        given = [Path(word) for word in command[:-1]]
        given += [path.with_suffix(".bin") for path in given if path.suffix == ".param"]
        weights = b"".join(path.read_bytes() for path in given if path.is_file())
        described = " ".join(command).encode()
        if target.suffix in (".xml", ".param"):  # what is computed is one file, its weights another
            target.write_bytes(described)
            target.with_suffix(".bin").write_bytes(weights)
        else:
            target.write_bytes(described + weights)


@pytest.fixture
def converters(monkeypatch: pytest.MonkeyPatch) -> Converters:
    found = Converters()
    monkeypatch.setattr(convert, "run", found.run)
    return found


def make(source: DataSource, folder: Path) -> Models:
    return make_models(source, FRAMES, folder, lambda environment: Path("python"), no_steps)


def test_every_peer_has_a_form_to_read_and_no_two_forms_share_a_file(
    source: DataSource, converters: Converters, tmp_path: Path
) -> None:
    models = make(source, tmp_path / "models")
    assert {peer.model for peer in PEERS} <= set(models.files)
    paths = [models.file(form) for form in models.files]
    # OpenVINO's .xml and ncnn's .param both have their weights in a .bin of the same name beside them.
    beside = [path.with_suffix(".bin") for path in paths if path.suffix in (".xml", ".param")]
    assert max(Counter([*paths, *beside]).values()) == 1


def test_the_card_is_taken_off_for_other_readers(source: DataSource, converters: Converters, tmp_path: Path) -> None:
    assert make(source, tmp_path / "models").file("int8").read_bytes() == FLATBUFFER


def test_the_keras_model_is_kept_as_it_was_when_the_comparison_began(
    source: DataSource, converters: Converters, tmp_path: Path
) -> None:
    models = make(source, tmp_path / "models")
    source.keras.unlink()
    assert models.file("keras").read_bytes() == b"weights"


def test_nothing_is_converted_again_while_nothing_has_changed(
    source: DataSource, converters: Converters, tmp_path: Path
) -> None:
    make(source, tmp_path / "models")
    assert converters.made
    converters.made.clear()
    make(source, tmp_path / "models")
    assert converters.made == []


def test_other_calibration_images_make_what_they_calibrated_anew_and_nothing_else(
    source: DataSource, converters: Converters, tmp_path: Path
) -> None:
    make(source, tmp_path / "models")
    converters.made.clear()
    make_models(source, FRAMES + 1, tmp_path / "models", lambda environment: Path("python"), no_steps)
    assert converters.made and all("-own" in name for name in converters.made)


def test_other_weights_in_the_same_network_make_everything_anew(
    source: DataSource, converters: Converters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(source, tmp_path / "models")
    everything, described = converters.made.copy(), tmp_path / "models" / "some-float32.ncnn.param"
    before = described.read_bytes()
    converters.made.clear()
    source.keras.write_bytes(b"other weights")
    monkeypatch.setattr(convert, "split_model", lambda path: (b"another network", {}))
    make(source, tmp_path / "models")
    assert described.read_bytes() == before  # the same network: what changed lies in the .bin
    assert converters.made == everything


def test_a_model_whose_weights_are_gone_is_made_again(
    source: DataSource, converters: Converters, tmp_path: Path
) -> None:
    models = make(source, tmp_path / "models")
    converters.made.clear()
    models.file("ncnn int8 own").with_suffix(".bin").unlink()
    models.file("openvino int8 own").with_suffix(".bin").unlink()
    make(source, tmp_path / "models")
    assert converters.made == ["some-int8-own.openvino.xml", "some-int8-own.ncnn.param"]


def test_a_conversion_that_fails_is_a_reason_for_those_that_read_it_and_for_what_is_made_of_it(
    source: DataSource, converters: Converters, tmp_path: Path
) -> None:
    converters.failing = "float32.onnx"
    models = make(source, tmp_path / "models")
    with pytest.raises(PeerError, match=r"some-float32\.onnx could not be made: no such operator"):
        models.file("onnx float32")
    with pytest.raises(PeerError, match=r"some-float32\.onnx, from which .* is made, could not be made"):
        models.file("ncnn float32")
    assert models.file("onnx int8").is_file()


def test_a_stale_conversion_does_not_pass_for_one_that_fails_now(
    source: DataSource, converters: Converters, tmp_path: Path
) -> None:
    make(source, tmp_path / "models")
    converters.failing = "own"
    models = make_models(source, FRAMES + 1, tmp_path / "models", lambda environment: Path("python"), no_steps)
    with pytest.raises(PeerError, match="no such operator"):
        models.file("ncnn int8 own")
    assert not list((tmp_path / "models").glob("*own*.param"))


def test_what_a_failed_conversion_left_does_not_pass_for_what_was_made_before_it(
    source: DataSource, converters: Converters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(source, tmp_path / "models")

    def run_and_fail(command: list[str], limit_s: float, failure: str, **_: Any) -> None:
        converters.run(command, limit_s, failure)
        raise PeerError("took too long")

    monkeypatch.setattr(convert, "run", run_and_fail)
    make_models(source, FRAMES + 1, tmp_path / "models", lambda environment: Path("python"), no_steps)
    monkeypatch.setattr(convert, "run", converters.run)
    converters.made.clear()
    make(source, tmp_path / "models")
    assert converters.made and all("-own" in name for name in converters.made)


def test_an_environment_that_cannot_be_made_costs_only_its_own_conversions(
    source: DataSource, converters: Converters, tmp_path: Path
) -> None:
    def prepare(environment: Environment) -> Path:
        if environment.name == "pnnx":
            raise PeerError("pip could not install pnnx.lock")
        return Path("python")

    models = make_models(source, FRAMES, tmp_path / "models", prepare, no_steps)
    with pytest.raises(PeerError, match=r"pip could not install pnnx\.lock"):
        models.file("ncnn float32")
    assert models.file("openvino int8 own").is_file()


def test_an_int8_file_of_another_network_is_refused(keras: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "split_model", lambda path: (FLATBUFFER, {"keras_sha256": "another"}))
    with pytest.raises(UserError, match=r"some-int8\.tflite was not made from .*some\.keras"):
        find_source(keras, None)


def test_a_model_without_its_int8_file_says_how_to_make_one(keras: Path) -> None:
    keras.with_name("some-int8.tflite").unlink()
    with pytest.raises(UserError, match=r"MODEL=.*some\.keras make export-int8, and pass --int8 PATH"):
        find_source(keras, None)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.keras does not exist"):
        find_source(tmp_path / "absent.keras", None)


@pytest.fixture(scope="module")
def split(synthetic_dir: Path) -> Split:
    return make_split(find_data(synthetic_dir).dataset, "official")


def test_the_calibration_images_are_those_that_the_card_names(split: Split) -> None:
    expected = choose(candidates_from_pairs(split.train), 5, 3)
    card = {"calibration": {"images": 5, "seed": 3, "sha256": expected.sha256}}
    frames, facts = calibration_frames(card, split, SIDE, SIDE, no_steps)
    np.testing.assert_array_equal(frames, expected.frames(SIDE, SIDE))
    assert facts == {"images": 5, "sha256": expected.sha256, "same_as_int8": True}


def test_other_data_cannot_give_the_calibration_images_and_the_facts_say_so(split: Split) -> None:
    card = {"calibration": {"images": 5, "seed": 3, "sha256": "of FireSeg"}}
    _, facts = calibration_frames(card, split, SIDE, SIDE, no_steps)
    assert facts["same_as_int8"] is False


def test_the_test_frames_are_written_at_the_models_size(split: Split, tmp_path: Path) -> None:
    path = tmp_path / "maps" / "frames.npy"
    write_frames(split.test, SIDE, SIDE, path)
    frames = np.load(path)
    assert frames.shape == (len(split.test), SIDE, SIDE, 3) and frames.dtype == np.uint8

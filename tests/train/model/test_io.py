"""Model files: valid ones become predictors, others are refused in one line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from edge.errors import UserError
from edge.model.preprocess import to_model_input
from train.model import keras_file
from train.model.io import KerasPredictor, deflate, load_keras, load_predictor

HEIGHT, WIDTH = 16, 24


def network(height: int | None = HEIGHT, width: int | None = WIDTH, channels: int = 3, maps: int = 1) -> keras.Model:
    """One convolution: the smallest model that maps frames to probabilities."""
    keras.utils.set_random_seed(1)
    frame = keras.Input((height, width, channels))
    x = layers.Rescaling(1 / 127.5, offset=-1)(frame)
    return keras.Model(frame, layers.Conv2D(maps, 3, padding="same", activation="sigmoid")(x))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    network().save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def refusal(path: Path) -> str:
    """Return the one line that a file is refused with."""
    with pytest.raises(UserError) as caught:
        load_keras(path)
    (message,) = caught.value.lines
    assert "\n" not in message
    assert str(path) in message
    return str(message)


def test_a_compressed_model_is_smaller_loads_alike_and_is_deterministic(path: Path) -> None:
    stored, before = path.stat().st_size, load_keras(path).get_weights()
    deflate(path)
    once = path.read_bytes()
    assert len(once) < stored
    assert all(np.array_equal(a, b) for a, b in zip(before, load_keras(path).get_weights(), strict=True))
    deflate(path)
    assert path.read_bytes() == once


def test_a_frame_of_any_size_becomes_keras_probabilities_in_steps_of_1_256(path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    predictor = KerasPredictor(load_keras(path))
    levels = predictor(frame)
    assert (predictor.height, predictor.width) == levels.shape == (HEIGHT, WIDTH) and levels.dtype == np.uint8
    batch = to_model_input(frame, HEIGHT, WIDTH)[None].astype(np.float32)
    probability = network().predict(batch, verbose=0)[0, :, :, 0]
    assert np.abs(levels - np.floor(probability * 256)).max() <= 1
    assert (predictor.mask(frame) == (levels >= 128)).all()


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "does not exist: expected a .keras file" in refusal(Path("nowhere/model.keras"))
    assert "is a folder: expected a .keras file" in refusal(tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(path: Path, fraction: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    assert "cut short or not a Keras 3 model" in refusal(path)


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_a_damaged_byte_is_detected(path: Path, member: str) -> None:
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
    middle = info.header_offset + 30 + len(member) + info.compress_size // 2
    data[middle] ^= 0xFF
    path.write_bytes(data)
    assert "save or copy it again" in refusal(path)


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5", None])
def test_an_archive_without_one_or_any_member_is_refused(path: Path, tmp_path: Path, member: str | None) -> None:
    other = tmp_path / "other.keras"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(other, "w") as part:
        part.writestr("photo.jpg", b"picture")
        for name in whole.namelist() if member else ():
            if name != member:
                part.writestr(name, whole.read(name))
    refusal(other)


def test_a_model_with_unregistered_layers_is_refused(tmp_path: Path) -> None:
    class Unknown(layers.Layer):  # not registered with Keras
        def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
            return x

    frame = keras.Input((HEIGHT, WIDTH, 3))
    path = tmp_path / "custom.keras"
    keras.Model(frame, layers.Conv2D(1, 1)(Unknown()(frame))).save(path)
    assert f"needs Unknown, which Keras {keras.__version__} does not have" in refusal(path)


def test_a_model_of_other_shapes_is_refused_naming_them(tmp_path: Path) -> None:
    frame, other = (keras.Input((HEIGHT, WIDTH, 3)) for _ in range(2))
    maps = layers.Conv2D(1, 1)(frame)
    models = {
        "(None, None, 24, 3) to (None, None, 24, 1)": network(height=None),
        "(None, 16, None, 3) to (None, 16, None, 1)": network(width=None),
        "(None, 16, 24, 1) to (None, 16, 24, 1)": network(channels=1),
        "(None, 16, 24, 3) to (None, 16, 24, 2)": network(maps=2),
        "(None, 16, 24, 3) to (None, 8, 12, 1)": keras.Model(frame, layers.MaxPooling2D(2)(maps)),
        "(None, 16, 24, 3) to (None, 1)": keras.Model(frame, layers.GlobalAveragePooling2D()(maps)),
        "(None, 16, 24, 3) to [(None": keras.Model(frame, [maps, maps]),
        "[(None": keras.Model([frame, other], layers.Conv2D(1, 1)(layers.Add()([frame, other]))),
    }
    for shapes, model in models.items():
        model.save(tmp_path / "model.keras")
        message = refusal(tmp_path / "model.keras")
        assert f"maps {shapes}" in message
        assert "expected RGB frames (N, H, W, 3) of a fixed size" in message


def test_the_suffix_decides_how_a_file_is_loaded(path: Path, tmp_path: Path) -> None:
    assert isinstance(load_predictor(path), KerasPredictor)
    with pytest.raises(UserError, match=r"model\.pt is not a model file: expected \.keras, \.h5 or \.tflite"):
        load_predictor(tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"missing\.tflite"):
        load_predictor(tmp_path / "missing.tflite")


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
def test_a_whole_hdf5_model_predicts_like_the_keras_file(path: Path, suffix: str) -> None:
    network().save(path.with_suffix(suffix))
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    assert (load_predictor(path.with_suffix(suffix))(frame) == load_predictor(path)(frame)).all()


def test_hdf5_weights_a_cut_hdf5_file_and_one_named_keras_are_each_named(path: Path, tmp_path: Path) -> None:
    network().save_weights(tmp_path / "model.weights.h5")
    assert "holds weights only, without the network" in refusal(tmp_path / "model.weights.h5")
    network().save(tmp_path / "whole.h5")
    data = (tmp_path / "whole.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[: len(data) // 2])
    assert "cut short or not a HDF5 model" in refusal(tmp_path / "cut.h5")
    path.write_bytes(data)
    assert "is an HDF5 file: rename it to .h5" in refusal(path)
    (tmp_path / "int8.tflite").write_bytes(data)
    assert "is not a Keras model: expected .keras" in refusal(tmp_path / "int8.tflite")


def rewrite_config(path: Path, old: str, new: str) -> None:
    """Replace a part of the network's configuration in a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    changed = members["config.json"].replace(old.encode(), new.encode())
    assert changed != members["config.json"]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**members, "config.json": changed}.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("module", ["keras.layers", "mine.layers"])
def test_the_missing_class_is_named_even_if_keras_should_have_it(path: Path, module: str) -> None:
    rewrite_config(
        path, '"module": "keras.layers", "class_name": "Rescaling"', f'"module": "{module}", "class_name": "Mist"'
    )
    assert f"needs Mist, which Keras {keras.__version__} does not have" in refusal(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_is_refused_by_name_and_its_code_is_not_run(tmp_path: Path, suffix: str) -> None:
    frame = keras.Input((HEIGHT, WIDTH, 3))
    scaled = layers.Lambda(lambda x: x / 255, name="scale", output_shape=(HEIGHT, WIDTH, 3))(frame)
    model_path = tmp_path / f"lambda{suffix}"
    keras.Model(frame, layers.Conv2D(1, 1)(scaled)).save(model_path)
    assert "holds Python code in a Lambda layer (scale), which is not run: replace it" in refusal(model_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_with_the_tensor_s_name(path: Path, value: float) -> None:
    model = network()
    model.layers[-1].bias.assign([value])
    model.save(path)
    message = refusal(path)
    assert "has NaN or infinite weights in 1 of 2 tensors" in message and "/bias" in message


@pytest.mark.slow
def test_a_configuration_that_is_a_bomb_or_no_json_is_refused(path: Path) -> None:
    rewrite_config(path, '"module"', " " * (keras_file.MAX_CONFIG_BYTES) + '"module"')
    assert "is refused: it unpacks to" in refusal(path)
    network().save(path)
    rewrite_config(path, '"compile_config"', '"deep": ' + "[" * 100_000 + '"compile_config"')
    assert "holds no readable network configuration" in refusal(path)

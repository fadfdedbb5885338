"""The comparison of runtimes: fresh conversions, the same calibration, ratios within a round, rows for failures."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.peers import convert
from benchmarks.peers.convert import Models, calibration_frames, find_int8, make_models
from benchmarks.peers.measure import Client, measure
from benchmarks.peers.report import Report, draw, make_rows
from benchmarks.peers.runtimes import PEERS, ROOT, Environment, Peer, PeerError, choose
from benchmarks.pi.instructions import INSIDE_FILES
from edge.console import no_steps
from edge.errors import UserError
from edge.files import sha256
from edge.images import read_rgb
from export.calibration import candidates_from_pairs
from export.calibration import choose as choose_images
from train.data.sources import find_data
from train.data.splits import make_split
from train.evaluation.evaluate import Predictions

pytestmark = pytest.mark.bench

FRAMES = np.zeros((2, 32, 32, 3), np.uint8)


@dataclass
class Converters:
    """Stands in for the converters: each writes its target, unless its name contains `failing`."""

    made: list[str] = field(default_factory=list)
    failing: str = "nothing"

    def run(self, command: list[str], limit_s: float, failure: str, **_: Any) -> None:
        target, sources = Path(command[-1]), map(Path, command[:-1])
        if self.failing in target.name:
            raise PeerError(f"{failure}: no such operator")
        self.made.append(target.name)
        target.write_bytes(b"".join(path.read_bytes() for path in sources if path.is_file()))
        if target.suffix in (".xml", ".param"):  # the weights are a separate file
            target.rename(target.with_suffix(".bin"))
            target.write_text(" ".join(command))


def test_models_are_converted_again_only_if_a_source_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keras, int8, converters = tmp_path / "some.keras", tmp_path / "some-int8.tflite", Converters()
    keras.write_bytes(b"weights")
    int8.write_bytes(b"a network and its card")
    card = {"keras_sha256": sha256(keras)}
    monkeypatch.setattr(convert, "run", converters.run)
    monkeypatch.setattr(Environment, "prepare", lambda _: Path("python"))
    monkeypatch.setattr(convert, "split_model", lambda path: (path.read_bytes().removesuffix(b" and its card"), card))
    monkeypatch.setattr(convert, "_write_float_tflite", lambda keras, target: target.write_bytes(keras.read_bytes()))
    find_int8(keras)

    def make(frames: Any = FRAMES) -> tuple[Models, list[str]]:
        converters.made = []
        return make_models(keras, int8, frames, tmp_path / "models", no_steps), converters.made

    models, everything = make()
    assert {peer.model for peer in PEERS} <= set(models)
    assert len(set(models.values())) == len(models)
    assert (tmp_path / "models" / "some-int8.tflite").read_bytes() == b"a network"
    assert make()[1] == []
    (tmp_path / "models" / "some-int8-own.openvino.bin").unlink()
    assert make()[1] == ["some-int8-own.openvino.xml"]
    assert {name for name in everything if "-own" in name} == set(make(FRAMES + 1)[1])  # other calibration images
    converters.failing = "-own"
    assert "no such operator" in str(make()[0]["openvino int8 own"])
    assert not list((tmp_path / "models").glob("*own*.xml")), "no stale model remains"
    converters.failing = "nothing"
    keras.write_bytes(b"other weights")
    int8.write_bytes(b"another network and its card")
    assert make()[1] == everything
    with pytest.raises(UserError, match=r"some-int8\.tflite was not exported from .*some\.keras") as caught:
        find_int8(keras)
    assert f"copy build/export/fireseg-int8.tflite to {int8}" in caught.value.remedy


def test_peers_are_calibrated_on_the_images_of_the_card(synthetic_dir: Path) -> None:
    split = make_split(find_data(synthetic_dir).dataset, "official")
    expected = choose_images(candidates_from_pairs(split.train), 5, 3)
    card = {"calibration": {"images": 5, "seed": 3, "sha256": expected.sha256}}
    frames, facts = calibration_frames(card, split, 32, 32, no_steps)
    np.testing.assert_array_equal(frames, expected.frames(32, 32))
    assert facts == {"images": 5, "sha256": expected.sha256, "same_as_int8": True}
    card["calibration"]["sha256"] = "of FireSeg"
    assert calibration_frames(card, split, 32, 32, no_steps)[1]["same_as_int8"] is False


class FakeClient:
    """A peer with fixed times that predicts fire in the left half."""

    version = "1.0"

    def __init__(self, *times_ms: float, dtype: type = np.uint8) -> None:
        self.times_ms, self.dtype, self.is_closed = list(times_ms), dtype, False

    def time(self, frames: Path, runs: int, warm_up: int) -> list[float]:
        if not self.times_ms:
            raise PeerError("it crashed (SIGSEGV)")
        return [self.times_ms.pop()] * runs

    def segment(self, frames: Path, maps: Path) -> None:
        fire = 128 if self.dtype == np.uint8 else 0.5
        np.save(maps, np.tile(np.array([fire, fire, 0, 0], self.dtype), (3, 4, 1)))

    def close(self) -> None:
        self.is_closed = True


def test_ratios_are_within_a_round_and_failures_are_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.zeros((3, 4, 4, 3), np.uint8))
    peers = choose(["onnxruntime-int8", "openvino-int8", "opencv", "keras"])
    reference, onnx, crashing, no_wheel, keras = peers
    clients = {reference: FakeClient(1.0, 100.0), onnx: FakeClient(2.0, 50.0, dtype=np.float32)}
    clients[crashing] = FakeClient(1.0)
    crash, no_install = "failed while timed: it crashed (SIGSEGV)", "pip could not install opencv.lock: no wheel"

    def start(peer: Peer, model: Path, count: int) -> Client:
        if peer == no_wheel:
            raise PeerError(no_install)
        return cast(Client, clients[peer])

    models: Models = {peer.model: tmp_path for peer in PEERS}
    models[keras.model] = PeerError("no such operator")
    results = measure(peers, models, (1,), 2, tmp_path / "frames.npy", no_steps, start)
    assert all(client.is_closed for client in clients.values())
    masks = np.tile(np.array([True, True, False, False]), (3, 4, 1))
    machine = {"board": None, "cpu": "Some CPU", "load": 0.5, "load_after": 0.6}
    facts = {"calibration": {"images": 3, "same_as_int8": False}, "rounds": 2, "machine": machine}
    report = Report(facts, "some.keras", (1,), make_rows(results, Predictions(("a", "b", "c"), masks, masks)))
    rows = json.loads(json.dumps(report.as_json(), allow_nan=False))["rows"]
    assert [row["failure"] for row in rows] == [None, None, crash, no_install, "no such operator"]
    assert [(row["agreement"], row["fire_iou"]) for row in rows[:3]] == [(1, 1)] * 3
    assert rows[2]["rounds_ms"] == {}
    text = report.as_markdown()
    assert "| ONNX Runtime int8 | 1.0 | 1.0000 | 1.0000 | 1.0000 | 26.00 | 1.25 (0.65 to 1.85) |" in text
    assert "NOT the images" in text and "ncnn is float only" in text
    draw(report, tmp_path / "peers.png")
    assert read_rgb(tmp_path / "peers.png").std() > 0


def test_files_that_run_in_another_environment_import_one_another_only() -> None:
    room = ROOT / "benchmarks"
    for path in [*(room / name for name in INSIDE_FILES), *(room / "peers").glob("*/*.py")]:
        own = re.findall(r"^ *(?:from|import) ((?:edge|train|export|benchmarks)\S*)", path.read_text(), re.MULTILINE)
        assert set(own) <= {"benchmarks.peers.worker"}, path

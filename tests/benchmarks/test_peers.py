"""The comparison of runtimes: who takes part, ratios within a round, and rows for what fails."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmarks.peers.catalogue import PEERS, REFERENCE, Peer, choose
from benchmarks.peers.picture import draw
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers.convert import Models
from benchmarks.peers.measure import Measured, Worker, measure
from benchmarks.peers.report import Report, make_rows, rate
from benchmarks.peers.runtimes import LOCKS, PeerError
from edge.console import no_steps
from edge.errors import UserError
from train.evaluation.evaluate import Predictions

ONNX = next(peer for peer in PEERS if peer.name == "onnxruntime-int8")
OPENCV = next(peer for peer in PEERS if peer.environment.name == "opencv")
TIMES_MS = st.lists(st.floats(0.1, 1e4), min_size=1, max_size=20)
FACTS = {
    "calibration": {"images": 3, "same_as_int8": True},
    "rounds": 4,
    "machine": {"board": None, "cpu": "Some CPU", "load": 0.5, "load_after": 0.6},
}


class FakeWorker:
    """A peer that takes as long as it is told and marks the left half."""

    version = "1.0"

    def __init__(self, times_ms: list[float], *, fails_in_round: int | None = None, dtype: type = np.uint8) -> None:
        self.times_ms, self.fails_in_round, self.dtype = times_ms, fails_in_round, dtype
        self.round, self.is_closed = 0, False

    def time(self, frames: Path, runs: int, warm_up: int) -> list[float]:
        if self.round == self.fails_in_round:
            raise PeerError("it crashed (SIGSEGV)")
        self.round += 1
        return [self.times_ms[(self.round - 1) % len(self.times_ms)]] * runs

    def segment(self, frames: Path, maps: Path) -> None:
        found = np.zeros(np.load(frames).shape[:3], self.dtype)
        found[:, :, :2] = 128 if self.dtype == np.uint8 else 0.5
        np.save(maps, found)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    path = tmp_path / "frames.npy"
    np.save(path, np.zeros((3, 4, 4, 3), np.uint8))
    return path


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models({peer.model: tmp_path / peer.model for peer in PEERS})


@pytest.fixture
def reference() -> Predictions:
    masks = np.zeros((3, 4, 4), bool)
    masks[:, :, :2] = True
    return Predictions(("a", "b", "c"), masks, masks)


Run = Callable[..., list[Measured]]


@pytest.fixture
def run(frames: Path, models: Models) -> Run:
    def run(workers: dict[tuple[Peer, int], Worker | PeerError], rounds: int = 4, threads: tuple[int, ...] = (1,)):  # type: ignore[no-untyped-def]
        def start(peer: Peer, model: Path, count: int) -> Worker:
            found = workers[peer, count]
            if isinstance(found, PeerError):
                raise found
            return found

        peers = list(dict.fromkeys(peer for peer, _ in workers))
        return measure(peers, models, threads, rounds, frames, lambda environment: Path(), start, no_steps)

    return run


def test_no_two_peers_share_a_name() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert all(re.fullmatch(r"[a-z0-9-]+", peer.name) for peer in PEERS)


def test_peers_are_chosen_by_name_or_by_environment_and_the_reference_is_always_among_them() -> None:
    assert choose([]) == list(PEERS)
    assert choose(["onnxruntime-int8"]) == [REFERENCE, ONNX]
    assert {peer.environment.name for peer in choose(["ncnn"])} == {"litert", "ncnn"}


def test_a_peer_that_is_none_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no peer tensorrt: expected any of .*onnxruntime"):
        choose(["tensorrt"])


@pytest.mark.parametrize("path", [peer.environment.lock for peer in PEERS], ids=lambda path: path.stem)
def test_a_lock_file_holds_names_versions_and_hashes_and_no_address(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    pinned = re.findall(r"^[a-z0-9._-]+==", text, re.MULTILINE)
    assert pinned
    assert len(re.findall(r"^    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)) >= len(pinned)


def test_every_lock_file_of_a_peer_has_the_list_it_was_made_from() -> None:
    assert {path.stem for path in LOCKS.glob("*.lock")} == {path.stem for path in LOCKS.glob("*.in")}


@given(TIMES_MS)
def test_the_reference_is_once_as_slow_as_itself(times_ms: list[float]) -> None:
    timing = rate(1, times_ms, times_ms)
    assert (timing.low, timing.ratio, timing.high) == (1, 1, 1)


@given(TIMES_MS, st.floats(0.1, 10), st.data())
def test_noise_that_hits_a_whole_round_leaves_the_ratio_alone(
    times_ms: list[float], factor: float, data: st.DataObject
) -> None:
    noise = data.draw(st.lists(st.floats(1, 20), min_size=len(times_ms), max_size=len(times_ms)))
    noisy_reference = [time * by for time, by in zip(times_ms, noise, strict=True)]
    timing = rate(2, [time * factor for time in noisy_reference], noisy_reference)
    assert timing.ratio == pytest.approx(factor)
    assert timing.low == pytest.approx(timing.high)


@given(TIMES_MS, st.data())
def test_the_ratio_lies_within_its_spread(times_ms: list[float], data: st.DataObject) -> None:
    reference_ms = data.draw(st.lists(st.floats(0.1, 1e4), min_size=len(times_ms), max_size=len(times_ms)))
    timing = rate(1, times_ms, reference_ms)
    assert timing.low is not None and timing.ratio is not None and timing.high is not None
    assert timing.low <= timing.ratio <= timing.high


@pytest.mark.parametrize("reference_ms", [[], [1.0]])
def test_without_the_references_rounds_there_is_a_time_but_no_ratio(reference_ms: list[float]) -> None:
    timing = rate(1, [3.0, 5.0], reference_ms)
    assert timing.median_ms == 4
    assert timing.ratio is None


def test_every_peer_is_timed_in_every_round_at_every_thread_count(run: Run) -> None:
    workers = {(peer, count): FakeWorker([10.0 * count]) for peer in (REFERENCE, ONNX) for count in (1, 2)}
    found = run(workers, rounds=5, threads=(1, 2))
    assert [measured.rounds_ms for measured in found] == [{1: [10.0] * 5, 2: [20.0] * 5}] * 2
    assert all(worker.is_closed for worker in workers.values())


def test_ratios_are_taken_within_a_round(run: Run, reference: Predictions) -> None:
    found = run({(REFERENCE, 1): FakeWorker([1.0, 100.0]), (ONNX, 1): FakeWorker([2.0, 200.0])})
    rows = make_rows(found, reference)
    assert rows[1].timings[0].ratio == pytest.approx(2)
    assert rows[1].timings[0].high == pytest.approx(2)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_bytes_and_probabilities_are_held_to_one_threshold(run: Run, reference: Predictions, dtype: type) -> None:
    rows = make_rows(run({(REFERENCE, 1): FakeWorker([1.0], dtype=dtype)}), reference)
    assert rows[0].metrics is not None
    assert rows[0].metrics["agreement"] == rows[0].metrics["fire_iou"] == 1


def test_a_peer_that_does_not_start_is_a_row_that_says_why(run: Run, reference: Predictions) -> None:
    reason = "pip could not install opencv.lock: no wheel"
    rows = make_rows(run({(REFERENCE, 1): FakeWorker([1.0]), (OPENCV, 1): PeerError(reason)}), reference)
    assert rows[1].failure == reason
    assert rows[1].metrics is None and not rows[1].timings
    assert rows[0].timings[0].ratio == 1


def test_a_peer_that_fails_at_one_thread_count_is_not_timed_at_the_other(run: Run) -> None:
    first = FakeWorker([1.0])
    workers = {(REFERENCE, 1): FakeWorker([1.0]), (REFERENCE, 2): FakeWorker([1.0])}
    found = run({**workers, (OPENCV, 1): first, (OPENCV, 2): PeerError("no")}, threads=(1, 2))
    assert found[1].failure == "no"
    assert first.round == 0 and first.is_closed


def test_a_peer_that_crashes_while_timed_keeps_its_accuracy_and_loses_its_times(
    run: Run, reference: Predictions
) -> None:
    crashing = FakeWorker([1.0], fails_in_round=2)
    rows = make_rows(run({(REFERENCE, 1): FakeWorker([1.0]), (OPENCV, 1): crashing}), reference)
    assert rows[1].failure == "failed while it was timed: it crashed (SIGSEGV)"
    assert rows[1].metrics is not None and not rows[1].timings
    assert len(rows[0].timings[0].rounds_ms) == 4


def test_a_model_that_could_not_be_converted_fails_only_the_peers_that_read_it(
    run: Run, models: Models, reference: Predictions
) -> None:
    models.files[OPENCV.model] = PeerError("tf2onnx left 3 transpositions in the graph")
    rows = make_rows(run({(REFERENCE, 1): FakeWorker([1.0]), (OPENCV, 1): FakeWorker([1.0])}), reference)
    assert rows[0].failure is None
    assert rows[1].failure == "tf2onnx left 3 transpositions in the graph"


def test_a_reason_is_one_line_of_bearable_length() -> None:
    reason = str(PeerError("Traceback\n  many\nlines " + "x" * 1000))
    assert "\n" not in reason and len(reason) <= 240


def make_report(run: Run, reference: Predictions) -> Report:
    workers = {
        (REFERENCE, 1): FakeWorker([4.0]),
        (ONNX, 1): FakeWorker([6.0], dtype=np.float32),
        (OPENCV, 1): PeerError("no wheel"),
    }
    return Report(FACTS, "some.keras on SYNTHETIC data", (1,), make_rows(run(workers), reference))


def test_the_table_and_its_markdown_hold_every_peer_even_one_that_failed(run: Run, reference: Predictions) -> None:
    report = make_report(run, reference)
    text = report.as_markdown()
    assert "| LiteRT int8 | 1.0 | 1.0000 | 1.0000 | 1.0000 | 4.00 | 1.00 (1.00 to 1.00) |" in text
    assert "| ONNX Runtime int8 | 1.0 | 1.0000 | 1.0000 | 1.0000 | 6.00 | 1.50 (1.50 to 1.50) |" in text
    assert "| OpenCV float32 | – | – | – | – | – | – |" in text
    assert "- OpenCV float32: no wheel" in text
    assert report.table().row_count == 3


def test_the_json_says_what_was_measured_and_why_something_was_not(run: Run, reference: Predictions) -> None:
    found = json.loads(json.dumps(make_report(run, reference).as_json(), allow_nan=False))
    assert found["reference"] == "litert-int8"
    assert [row["failure"] for row in found["rows"]] == [None, None, "no wheel"]
    assert found["rows"][1]["timings"][0]["ratio"] == 1.5
    assert found["rows"][1]["timings"][0]["rounds_ms"] == [6.0] * 4


def test_a_reader_is_told_when_the_calibration_images_are_others(run: Run, reference: Predictions) -> None:
    report = make_report(run, reference)
    assert "the very images" in report.as_markdown()
    report.facts["calibration"] = {"images": 3, "same_as_int8": False}
    assert "NOT the images" in report.as_markdown()


def test_the_picture_is_drawn_even_where_a_peer_failed(run: Run, reference: Predictions, tmp_path: Path) -> None:
    draw(make_report(run, reference), tmp_path / "peers.png")
    picture = cv2.imread(str(tmp_path / "peers.png"))
    assert picture is not None and picture.std() > 0

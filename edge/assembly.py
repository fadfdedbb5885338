"""Build camera, detector, throttle and sinks of a run from its configuration."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge import __version__
from edge.camera import Camera, CameraSettings, build_camera
from edge.camera.capture import Capture
from edge.camera.replay import Replay
from edge.config import Config
from edge.control.actions import Actions
from edge.control.arming import Arming
from edge.control.drill import Drill
from edge.control.feedback import register_verdict
from edge.control.quiet_actions import register_quiet_actions
from edge.control.saved_state import SavedState, state_path
from edge.detection.detector import Detector
from edge.detection.events import EventTracker
from edge.detection.memory import PlaceMemory
from edge.detection.suggestions import Suggestions
from edge.detection.zones import ZoneMap
from edge.errors import UserError
from edge.fallback import LastGood
from edge.files import check_writable, state_folder
from edge.host.throttle import Throttle
from edge.model.proof import prove_in_fork
from edge.model.segmenter import Segmenter
from edge.model.self_test import check_kernels
from edge.reload import Setup, describe, prepare
from edge.signals import RunControl
from edge.sinks import Sink, Sinks
from edge.sinks.factory import build_sinks
from edge.sinks.terminal import Terminal
from edge.update.store import open_store
from edge.update.watch import ModelWatch

log = logging.getLogger(__name__)

CAMERA_TIMEOUT_SHARE = 0.8
"""Time-outs of a camera as a share of the stall time: its own error says more than that no frame arrived."""


@dataclass
class Parts:
    """The parts of a run, and the setup that they were built from."""

    setup: Setup
    camera: Camera
    capture: Capture
    detector: Detector
    throttle: Throttle
    built_sinks: list[Sink]
    actions: Actions
    saved: SavedState
    arming: Arming
    update: ModelWatch | None = None

    def __post_init__(self) -> None:
        self.sinks = Sinks(self.built_sinks, time.monotonic)
        weekly = self.setup.config.drill.weekly
        self.drill = Drill(lambda: self.detector.zones.cells, self.sinks.links, self.saved, weekly=weekly)
        self._register_actions()
        self._every_frame = self.setup.config.source.replay == Replay.EVERY_FRAME

    def _register_actions(self) -> None:
        """Offer what the run can do to the page, the command line and MQTT."""
        register_quiet_actions(self.actions, self.detector.memory, self.detector.suggestions)
        self.arming.register(self.actions, self.detector.events.acknowledge)
        self.actions.register("drill", self.drill.start)
        if folder := self.setup.config.clips.folder:
            register_verdict(self.actions, Path(folder))

    def connect(self, control: RunControl) -> None:
        """Let the sinks on stdout stop the run, or wait until it stops, and that of model updates reload it."""
        if self.update:
            self.update.connect(control, self.sinks.on_event)
        receivers = [sink for sink in self.built_sinks if sink is not self.update]
        for sink in receivers:
            if isinstance(sink, Terminal):
                lossless = self._every_frame and not self.camera.live
                sink.connect(control, lossless=lossless, is_only_sink=len(receivers) == 1)

    def close(self) -> None:
        """Close the sinks, and write what must be remembered."""
        self.sinks.close()
        self.actions.close()
        self.detector.suggestions.save()
        self.arming.close()
        self.saved.close()

    def apply(self, new: Setup) -> None:
        """Use another configuration and model from the next frame on."""
        config = new.config
        self.detector.reconfigure(new.segmenter, new.zones, config.alarm, config.detection, max_fps=config.loop.max_fps)
        self.detector.events.model_sha256 = new.model_sha256
        if not self._every_frame:
            self.throttle.max_fps, self.throttle.slow_when_hot = config.loop.max_fps, config.loop.slow_when_hot
        self.drill.weekly = config.drill.weekly
        self.arming.configure(config.arming)
        self.sinks.on_config(config)


def assemble(config: Config, *, last_good: LastGood | None, as_json: bool, record: Path | None) -> Parts:
    """Build the parts of a run. Raises `UserError`.

    A model is proven in a child process, unless it worked before; a service keeps what works in `last_good`.
    """
    check_outputs(config, record, is_service=last_good is not None)

    def is_proven(model_sha256: str) -> bool:
        return last_good is not None and last_good.has_model(model_sha256)

    setup, model = prepare(config, is_proven=is_proven, proof=prove_in_fork)
    try:
        check_kernels(setup.segmenter)
    except UserError as error:
        log.warning("%s", error)
    log.info("%s: %s", setup.segmenter.path, setup.self_test)
    if not setup.flame_pixels:
        log.warning("%s detects no fire in the test pattern's flames: check the model", setup.segmenter.path)

    def open_camera() -> Camera:
        return build_camera(config.source.address_with_login(), camera_settings(config, setup.segmenter))

    camera = open_camera()  # refuses a wrong address before anything starts
    every_frame = config.source.replay == Replay.EVERY_FRAME
    actions, saved = Actions(), SavedState(state_path(state_folder(), config.source.address))
    detector = build_detector(
        config, setup.segmenter, setup.zones, setup.model_sha256, camera.name, clock=time.monotonic, saved=saved
    )
    max_fps = 0 if every_frame else config.loop.max_fps
    throttle = Throttle(max_fps, slow_when_hot=config.loop.slow_when_hot and not every_frame)
    capture = Capture(
        open_camera,
        replay=Replay(config.source.replay),
        stall_s=config.source.stall_s,
        reconnect_limit=config.source.reconnect_limit or None,
        prepare=detector.prepare,
    )
    arming = Arming(config.arming, saved)
    detector.silence = arming.silence
    sinks = build_sinks(config, as_json=as_json, record=record, version=__version__, actions=actions)
    update = ModelWatch(store, config) if (store := open_store(config)) else None
    if update:
        sinks.insert(0, update)
    keep(last_good, config, setup, model)
    return Parts(setup, camera, capture, detector, throttle, sinks, actions, saved, arming, update)


def build_detector(
    config: Config,
    segmenter: Segmenter,
    zones: ZoneMap,
    model_sha256: str,
    source_name: str,
    clock: Callable[[], float],
    passes_per_frame: float | None = None,
    saved: SavedState | None = None,
) -> Detector:
    """Return the detector of a configuration: the same one for a run and for a replayed recording.

    Args:
        clock: the clock of `TimedFrame.captured_s`.
        passes_per_frame: how often the model runs for a frame; None for as often as there is time.
        saved: holds the quiet places and candidates of earlier runs; None to begin without.
    """
    events = EventTracker(model_sha256, source_name)
    return Detector(
        segmenter, zones, config.alarm, events, config.detection,
        max_fps=config.loop.max_fps, passes_per_frame=passes_per_frame, clock=clock,
        memory=PlaceMemory(saved, now=events.now), suggestions=Suggestions(saved, now=events.now),
    )  # fmt: skip


def check_outputs(config: Config, record: Path | None, *, is_service: bool) -> None:
    """Raise `UserError` if the recording would replace the source, or a folder cannot be written.

    A service logs an error about the folder instead: it detects fire even if its card is read-only at boot.
    """
    with suppress(OSError):  # not an existing file
        if record and record.samefile(config.source.address):
            raise UserError(f"{record} is the source", "record to another file")
    try:
        check_writable(*config.files("written"))
    except UserError as error:
        if not is_service:
            raise
        log.error("%s", error)


def camera_settings(config: Config, segmenter: Segmenter | None) -> CameraSettings:
    """Return how to open the source; without a model, at the default model size."""
    source = config.source
    model_size = (segmenter.width, segmenter.height) if segmenter else CameraSettings.model_size
    return CameraSettings((source.width, source.height), model_size, source.fps, CAMERA_TIMEOUT_SHARE * source.stall_s)


def keep(last_good: LastGood | None, config: Config, setup: Setup, model: bytes) -> None:
    """Keep a configuration and model that work, if the process is a service."""
    if last_good:
        try:
            last_good.save(config, model, setup.model_sha256)
        except (OSError, UserError) as error:
            log.warning("the configuration cannot be kept as a fallback: %s", describe(error))

"""The loop: newest frame -> detector -> sinks, until the camera ends or the run is stopped. Read this first.

See `edge.camera.capture`, `edge.detection.detector` and `edge.sinks`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.camera.capture import Capture
from edge.control.actions import Actions
from edge.control.drill import Drill
from edge.detection.detector import Detector
from edge.host.throttle import Throttle
from edge.messages import START, FireEvent
from edge.reload import Reloader
from edge.run_status import ArmingStatus, UpdateStatus
from edge.signals import RunControl
from edge.sinks import Sinks
from edge.status import StatusReporter, Summary

POLL_S = 0.1  # longest wait before the loop checks again whether it should stop


def run_loop(
    capture: Capture,
    detector: Detector,
    sinks: Sinks,
    throttle: Throttle,
    control: RunControl,
    *,
    reloader: Reloader,
    actions: Actions | None = None,
    drill: Drill | None = None,
    arming: Callable[[], ArmingStatus] = ArmingStatus,
    failed_saves: Callable[[], int] = lambda: 0,
    update: Callable[[], UpdateStatus | None] = lambda: None,
    max_frames: int | None = None,
    reporter: StatusReporter | None = None,
) -> Summary:
    """Run until the camera ends, `max_frames` results are out or `control.stop` is set; return the totals.

    Raises the `UserError` of the camera.
    """
    summary, started_s = Summary(), time.monotonic()
    actions = actions or Actions()
    reporter = reporter or StatusReporter(
        capture, sinks, throttle, detector, reloader, arming, drill=drill, failed_saves=failed_saves, update=update
    )
    while not control.stop and not capture.ended and (max_frames is None or summary.results < max_frames):
        reloader.poll(control)
        actions.poll()
        if drill:
            drill.poll()
        throttle.poll()
        reporter.report(summary)
        if (wait_s := throttle.wait_s()) > 0:
            time.sleep(min(wait_s, POLL_S))
            continue
        frame = capture.newest(POLL_S)
        if frame is None:
            continue
        throttle.start()
        result, events = detector.process(drill.paint(frame) if drill else frame)
        sinks.on_result(result)
        for event in events:
            sinks.on_event(event)
            summary.fires += event.kind == START and isinstance(event, FireEvent) and not event.drill
        if drill:
            drill.observe(result, events)
        summary.results += 1
        summary.passes += result.passes
        summary.dropped = frame.number - summary.results
        summary.ages_ms.append(result.age_ms)
        throttle.finish()
        reporter.result_done(result)
    summary.seconds = time.monotonic() - started_s
    if max_frames is None or summary.results < max_frames:
        # It may have ended while the loop did not wait for a frame.
        capture.check(totals=summary.line(detector.events.source) if summary.results else "")
    return summary

"""What is asked for and what is answered: the page, its pictures, its figures."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from edge.sinks.web.bell import Notifier
from edge.sinks.web.health import why_blind, why_dead
from edge.sinks.web.history import History
from edge.sinks.web.live import Live
from edge.sinks.web.stream import Stream

MOST_VIEWERS = 32
"""Of the live picture at once, and as many of the figures."""
MJPEG = "multipart/x-mixed-replace; boundary=frame"
BOUNDARY = b"--frame\r\n"
STATIC = Path(__file__).parent / "static"
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/plot.js": ("plot.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass
class PageContext:
    """All that the page shows.

    Args:
        live, history: what the sink is told.
        bell: rings when there is news for `/state`.
        areas: zones and ignored areas as polygons, and the share from which fire counts.
        scrape: the metrics and their content type, by the request's Accept.
        interval_s: how far results are apart at most, where all is well.
    """

    live: Live
    history: History
    bell: Notifier
    areas: Callable[[], dict[str, Any]]
    scrape: Callable[[str], tuple[bytes, str]]
    interval_s: Callable[[], float]


def make_app(told: PageContext) -> ASGIApp:
    """The application behind the guard."""
    history = told.history
    watching = 0

    async def live(request: Request) -> ASGIApp:
        marked = is_marked(request)
        if marked is None:
            return no_such_overlay()
        if told.live.viewers >= MOST_VIEWERS:
            return crowded()
        return Stream(request, MJPEG, lambda: mjpeg(told.live.pictures(marked)))

    async def snapshot(request: Request) -> Response:
        marked = is_marked(request)
        if marked is None:
            return no_such_overlay()
        jpeg = await told.live.snapshot(marked)
        return picture(jpeg) if jpeg else sentence("There is no picture of now: look at /readyz.", 503)

    async def event_picture(request: Request) -> Response:
        jpeg = history.picture(request.path_params["id"], request.path_params["kind"])
        return picture(jpeg) if jpeg else sentence("There is no such picture, or no longer.", 404)

    async def stream_state(request: Request) -> ASGIApp:
        return crowded() if watching >= MOST_VIEWERS else Stream(request, "text/event-stream", states)

    async def states() -> AsyncIterator[bytes]:
        nonlocal watching
        watching += 1
        try:
            seen = -1
            while True:
                seen = await told.bell.wait(seen)
                yield f"data: {json.dumps(history.state())}\n\n".encode()
        finally:
            watching -= 1

    def look(give: Callable[[], Any]) -> Callable[[Request], Any]:
        async def answer(_: Request) -> Response:
            return JSONResponse(give())

        return answer

    async def metrics(request: Request) -> Response:
        text, kind = told.scrape(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind})

    async def healthz(_: Request) -> Response:
        return verdict(why_dead(history))

    async def readyz(_: Request) -> Response:
        return verdict(why_blind(history, told.interval_s()))

    return Router(
        [
            *(Route(path, serve_file(*file)) for path, file in FILES.items()),
            Route("/live.mjpeg", live),
            Route("/snapshot.jpg", snapshot),
            Route("/events/{id}/{kind}.jpg", event_picture),
            Route("/state", stream_state),
            Route("/api/state", look(history.state)),
            Route("/api/history", look(history.points)),
            Route("/api/events", look(history.events)),
            Route("/api/areas", look(told.areas)),
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
        ],
        redirect_slashes=False,
    )


async def mjpeg(jpegs: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Each part ends with the next one's boundary: browsers show a picture once they have seen that."""
    yield BOUNDARY
    async for jpeg in jpegs:
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
        yield head + jpeg + b"\r\n" + BOUNDARY


def serve_file(name: str, kind: str) -> Callable[[Request], Any]:
    text = (STATIC / name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(text, media_type=kind)

    return answer


def is_marked(request: Request) -> bool | None:
    """Whether fire is to be marked in the picture; None where the request says neither."""
    return {"1": True, "0": False}.get(request.query_params.get("overlay", "1"))


def picture(jpeg: bytes) -> Response:
    return Response(jpeg, media_type="image/jpeg")


def verdict(why_not: str | None) -> Response:
    return JSONResponse({"ok": why_not is None, "reason": why_not}, 200 if why_not is None else 503)


def sentence(text: str, status: int) -> Response:
    return PlainTextResponse(f"{text}\n", status)


def no_such_overlay() -> Response:
    return sentence("overlay is 1, for fire to be marked, or 0.", 400)


def crowded() -> Response:
    return sentence(f"{MOST_VIEWERS} are watching already: close a window elsewhere.", 503)

"""Routes of the live page: its files, frames, state, metrics and health."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.sinks.web.history import MAX_FIRES, History
from edge.sinks.web.live import LiveFrames, Notifier

MAX_VIEWERS = 32
"""Open streams of frames, and as many of the state."""
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
        live, history: filled by the sink.
        notifier: notified when `/state` changes.
        scrape: returns the metrics and their content type for a request's Accept header.
    """

    live: LiveFrames
    history: History
    notifier: Notifier
    scrape: Callable[[str], tuple[bytes, str]]


class Stream(StreamingResponse):
    """Streams a generator and closes it at once when the client leaves, so that viewers are counted right.

    Starlette leaves the generator to the garbage collector if the client stopped reading, and streams to HEAD too.
    """

    def __init__(self, chunks: AsyncGenerator[bytes, None], media_type: str) -> None:
        super().__init__(chunks, media_type=media_type)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body"})
            return
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._chunks.aclose()


def make_app(context: PageContext) -> ASGIApp:
    """Return the ASGI app of the page. It trusts every request: put `auth.Guard` before it."""
    live, history = context.live, context.history
    state_viewers = 0

    async def stream_frames(request: Request) -> ASGIApp:
        with_overlay = wants_overlay(request)
        if with_overlay is None:
            return bad_overlay()
        if live.viewers >= MAX_VIEWERS:
            return too_many_viewers()
        return Stream(mjpeg(live.jpegs(with_overlay)), MJPEG)

    async def snapshot(request: Request) -> Response:
        with_overlay = wants_overlay(request)
        if with_overlay is None:
            return bad_overlay()
        jpeg = await live.snapshot(with_overlay)
        return jpeg_response(jpeg) if jpeg else text_response("No current frame: /readyz says why.", 503)

    async def event_picture(request: Request) -> Response:
        jpeg = history.picture(request.path_params["id"], request.path_params["kind"])
        return jpeg_response(jpeg) if jpeg else text_response(f"Not found: the last {MAX_FIRES} fires are kept.", 404)

    async def stream_state(_: Request) -> ASGIApp:
        return too_many_viewers() if state_viewers >= MAX_VIEWERS else Stream(states(), "text/event-stream")

    async def states() -> AsyncGenerator[bytes, None]:
        nonlocal state_viewers
        state_viewers += 1
        try:
            async for _ in context.notifier.changes():
                yield f"data: {json.dumps(history.state())}\n\n".encode()
        finally:
            state_viewers -= 1

    async def metrics(request: Request) -> Response:
        text, content_type = context.scrape(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    return Router(
        [
            *(Route(path, serve_file(*file)) for path, file in FILES.items()),
            Route("/live.mjpeg", stream_frames),
            Route("/snapshot.jpg", snapshot),
            Route("/events/{id}/{kind}.jpg", event_picture),
            Route("/state", stream_state),
            Route("/api/state", serve_json(history.state)),
            Route("/api/history", serve_json(history.points)),
            Route("/api/events", serve_json(history.events)),
            Route("/api/areas", serve_json(history.areas)),
            Route("/metrics", metrics),
            Route("/healthz", serve_health(history.liveness_problem)),
            Route("/readyz", serve_health(history.readiness_problem)),
        ],
        redirect_slashes=False,
    )


async def mjpeg(jpegs: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Frame JPEGs as multipart. Each part ends with the next boundary: browsers wait for it to show the part."""
    try:
        yield BOUNDARY
        async for jpeg in jpegs:
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            yield head + jpeg + b"\r\n" + BOUNDARY
    finally:
        await jpegs.aclose()


def serve_file(name: str, media_type: str) -> Callable[[Request], Any]:
    content = (STATIC / name).read_bytes()

    async def respond(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return respond


def serve_json(get: Callable[[], Any]) -> Callable[[Request], Any]:
    async def respond(_: Request) -> Response:
        return JSONResponse(get())

    return respond


def serve_health(problem: Callable[[], str | None]) -> Callable[[Request], Any]:
    async def respond(_: Request) -> Response:
        reason = problem()
        return JSONResponse({"ok": reason is None, "reason": reason}, 503 if reason else 200)

    return respond


def wants_overlay(request: Request) -> bool | None:
    """Return whether fire is tinted in the frame; None for a wrong value."""
    return {"1": True, "0": False}.get(request.query_params.get("overlay", "1"))


def jpeg_response(jpeg: bytes) -> Response:
    return Response(jpeg, media_type="image/jpeg")


def text_response(text: str, status: int) -> Response:
    return PlainTextResponse(f"{text}\n", status)


def bad_overlay() -> Response:
    return text_response("overlay must be 1 (tint fire) or 0.", 400)


def too_many_viewers() -> Response:
    return text_response(f"{MAX_VIEWERS} viewers are connected, the limit: close one and try again.", 503)

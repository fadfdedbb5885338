"""Routes of the live page: its files, frames, state, metrics and health."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.sinks.web.history import MAX_FIRES, History
from edge.sinks.web.live import LiveFrames, Notifier

MAX_VIEWERS = 32  # of frames, and as many of the state
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


class Stream(StreamingResponse):
    """Streams a generator and closes it at once when the client leaves, so that viewers are counted right.

    Starlette leaves the generator to the garbage collector if the client stopped reading, and streams to HEAD too.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body"})
            return
        assert isinstance(self.body_iterator, AsyncGenerator)
        async with aclosing(self.body_iterator):
            await super().__call__(scope, receive, send)


def make_app(
    live: LiveFrames, history: History, notifier: Notifier, scrape: Callable[[str], tuple[bytes, str]]
) -> ASGIApp:
    """Return the ASGI app of the page. It trusts every request: put `auth.Guard` before it.

    Args:
        live, history: filled by the sink.
        notifier: notified when `/state` changes.
        scrape: returns the metrics and their content type for a request's Accept header.
    """
    state_viewers = 0

    async def stream_frames(request: Request) -> Response:
        check_viewers(live.viewers)
        return Stream(mjpeg(live.jpegs(wants_overlay(request))), media_type=MJPEG)

    async def snapshot(request: Request) -> Response:
        return jpeg_response(await live.snapshot(wants_overlay(request)), 503, "No current frame: /readyz says why.")

    async def event_snapshot(request: Request) -> Response:
        jpeg = history.snapshot(request.path_params["id"], request.path_params["kind"])
        return jpeg_response(jpeg, 404, f"Not found: the last {MAX_FIRES} fires are kept.")

    async def stream_state(_: Request) -> Response:
        check_viewers(state_viewers)
        return Stream(states(), media_type="text/event-stream")

    async def states() -> AsyncGenerator[bytes, None]:
        nonlocal state_viewers
        state_viewers += 1
        try:
            async for _ in notifier.changes():
                yield f"data: {json.dumps(history.state())}\n\n".encode()
        finally:
            state_viewers -= 1

    async def metrics(request: Request) -> Response:
        text, content_type = scrape(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    def route(path: str, respond: Callable[[], Response]) -> Route:
        async def endpoint(_: Request) -> Response:
            return respond()

        return Route(path, endpoint)

    routes = [
        Route("/live.mjpeg", stream_frames),
        Route("/snapshot.jpg", snapshot),
        Route("/events/{id}/{kind}.jpg", event_snapshot),
        Route("/state", stream_state),
        Route("/metrics", metrics),
        route("/api/state", lambda: JSONResponse(history.state())),
        route("/api/history", lambda: JSONResponse(history.points())),
        route("/api/events", lambda: JSONResponse(history.events())),
        route("/api/areas", lambda: JSONResponse(history.areas())),
        route("/healthz", lambda: health(history.liveness_problem())),
        route("/readyz", lambda: health(history.readiness_problem())),
    ]
    for path, (name, media_type) in FILES.items():
        routes.append(Route(path, Response((STATIC / name).read_bytes(), media_type=media_type)))
    return ExceptionMiddleware(Router(routes, redirect_slashes=False))


async def mjpeg(jpegs: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Frame JPEGs as multipart. Each part ends with the next boundary: browsers wait for it to show the part."""
    yield BOUNDARY
    async with aclosing(jpegs):
        async for jpeg in jpegs:
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            yield head + jpeg + b"\r\n" + BOUNDARY


def check_viewers(count: int) -> None:
    if count >= MAX_VIEWERS:
        raise HTTPException(503, f"{MAX_VIEWERS} viewers are connected, the limit: close one and try again.")


def wants_overlay(request: Request) -> bool:
    """Return whether to tint fire in the frame."""
    overlay = request.query_params.get("overlay", "1")
    if overlay not in ("0", "1"):
        raise HTTPException(400, "overlay must be 1 (tint fire) or 0.")
    return overlay == "1"


def jpeg_response(jpeg: bytes | None, status: int, problem: str) -> Response:
    if jpeg is None:
        raise HTTPException(status, problem)
    return Response(jpeg, media_type="image/jpeg")


def health(problem: str | None) -> Response:
    return JSONResponse({"ok": problem is None, "reason": problem}, 503 if problem else 200)

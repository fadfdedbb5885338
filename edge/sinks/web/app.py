"""Routes of the live page: its files, frames, state, metrics and health."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from edge.control.actions import Actions, Answer
from edge.errors import UserError
from edge.sinks.web.archive import Archive
from edge.sinks.web.archive_routes import archive_routes
from edge.sinks.web.auth import TOKEN, client_name
from edge.sinks.web.history import MAX_FIRES, History
from edge.sinks.web.live import LiveFrames, Notifier
from edge.sinks.web.streams import MJPEG, Stream, mjpeg
from edge.sinks.web.trend import RINGS, Trend

MAX_VIEWERS = 32  # of frames, and as many of the state
ACTION_TIMEOUT_S = 20.0
MAX_BODY_BYTES = 1 << 18
STATIC = Path(__file__).parent / "static"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PAGE = "page.html"


def make_app(
    live: LiveFrames,
    history: History,
    notifier: Notifier,
    scrape: Callable[[str], tuple[bytes, str]],
    actions: Actions,
    archive: Archive | None = None,
    trend: Trend | None = None,
) -> ASGIApp:
    """Return the ASGI app of the page. It trusts every request: put `auth.Guard` before it.

    Args:
        live, history: filled by the sink.
        notifier: notified when `/state` changes.
        scrape: returns the metrics and their content type for a request's Accept header.
        actions: of the run, taken by POST to /api/ACTION.
        archive: the events on disk; None without a folder of clips.
        trend: the plot of a day and a week; None if it is not kept.
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

    async def take_action(request: Request) -> Response:
        try:
            arguments = await json_body(request)
            asked = actions.submit(request.path_params["action"], arguments, origin=f"page {client_name(request)}")
            answer: Answer = await asyncio.wait_for(asyncio.wrap_future(asked), ACTION_TIMEOUT_S)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 400)
        except TimeoutError:
            return JSONResponse({"error": f"no answer within {ACTION_TIMEOUT_S:g} s: the run does not respond"}, 504)
        return JSONResponse(answer)

    async def token(request: Request) -> Response:
        return JSONResponse({"token": request.scope["state"].get(TOKEN)})

    async def trend_points(request: Request) -> Response:
        span = request.query_params.get("span", "day")
        if trend is None or span not in RINGS:
            raise HTTPException(404, f"span must be one of {', '.join(RINGS)}.")
        return JSONResponse(trend.points(span))

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
        Route("/api/trend", trend_points),
        route("/api/quiet-places", lambda: JSONResponse(history.quiet_places())),
        Route("/api/token", token),
        Route("/api/{action}", take_action, methods=["POST"]),
        route("/healthz", lambda: health(history.liveness_problem())),
        route("/readyz", lambda: health(history.readiness_problem())),
    ]
    if archive:
        routes += archive_routes(archive, history.model)
    for file in STATIC.iterdir():
        content = Response(file.read_bytes(), media_type=MEDIA_TYPES[file.suffix])
        routes.append(Route("/" if file.name == PAGE else f"/{file.name}", content))
    return ExceptionMiddleware(Router(routes, redirect_slashes=False))


async def json_body(request: Request) -> dict[str, Any]:
    """Return the JSON object that was posted; an empty body counts as one. Raises `UserError`."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                raise UserError(f"the body has more than {MAX_BODY_BYTES >> 10} KiB", "expected a small JSON object")
    except ClientDisconnect as error:
        raise UserError("the body is cut short", "send it again") from error
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError("the body is not a JSON object", 'expected JSON such as {"minutes": 60}')
    return value


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

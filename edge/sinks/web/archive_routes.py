"""Routes of the events on disk: lists by day, pictures, clips and downloads. The disk is read in other threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from edge.sinks.web.archive import CLIPS, Archive, clip_frames
from edge.sinks.web.streams import MJPEG, Stream, mjpeg

MAX_AT_ONCE = 2  # threads that read the disk for lists and thumbnails
MAX_STREAMS = 4  # clips that are decoded and downloads that are made
GONE = "Not found: it was deleted, or has not been written yet."

Value = TypeVar("Value")


def archive_routes(archive: Archive, model: Callable[[], dict[str, Any]]) -> list[Route]:
    """Return the routes.

    Args:
        model: returns what a download says about the model that runs.
    """
    reading, streams = asyncio.Semaphore(MAX_AT_ONCE), 0

    async def read(job: Callable[..., Value], *arguments: Any, **options: Any) -> Value:
        async with reading:
            return await run_in_threadpool(job, *arguments, **options)

    async def streamed(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        nonlocal streams
        streams += 1
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
        finally:
            streams -= 1

    def check_streams() -> None:
        if streams >= MAX_STREAMS:
            raise HTTPException(503, f"{MAX_STREAMS} clips or downloads are open, the limit: close one and try again.")

    async def listing(request: Request) -> Response:
        day = request.query_params.get("day")
        return JSONResponse(await (read(archive.days) if day is None else read(archive.events, day)))

    async def picture(request: Request) -> Response:
        id_, kind = request.path_params["id"], request.path_params["kind"]
        if request.query_params.get("thumbnail") == "1":
            jpeg = await read(archive.thumbnail, id_, kind)
            return Response(checked(jpeg), media_type="image/jpeg")
        has_overlay = request.query_params.get("overlay", "1") == "1"
        return FileResponse(checked(await read(archive.picture, id_, kind, overlay=has_overlay)))

    async def clip(request: Request) -> Response:
        path = checked(await read(archive.clip, request.path_params["id"]))
        return FileResponse(path, media_type=CLIPS[path.suffix])  # answers requests for ranges, as players send

    async def clip_as_frames(request: Request) -> Response:
        check_streams()
        path = checked(await read(archive.clip, request.path_params["id"]))
        return Stream(streamed(mjpeg(in_time(path))), media_type=MJPEG)

    async def download(request: Request) -> Response:
        check_streams()
        id_ = request.path_params["id"]
        chunks = checked(await read(archive.zipped, id_, model()))
        headers = {"content-disposition": f'attachment; filename="{id_}.zip"'}
        content = streamed(iterated(chunks))
        return Stream(content, media_type="application/zip", headers=headers)

    return [
        Route("/api/archive", listing),
        Route("/archive/{id}/{kind}.jpg", picture),
        Route("/archive/{id}/clip", clip),
        Route("/archive/{id}/clip.mjpeg", clip_as_frames),
        Route("/archive/{id}.zip", download),
    ]


async def in_time(path: Path) -> AsyncGenerator[bytes, None]:
    """Yield the JPEGs of a clip at the clip's speed."""
    next_s = asyncio.get_running_loop().time()
    async for shown_s, jpeg in iterate_in_threadpool(clip_frames(path)):
        yield jpeg
        next_s = max(next_s + shown_s, asyncio.get_running_loop().time())
        await asyncio.sleep(next_s - asyncio.get_running_loop().time())


async def iterated(chunks: Any) -> AsyncGenerator[bytes, None]:
    """Yield the items of an iterator that runs in other threads."""
    async for chunk in iterate_in_threadpool(chunks):
        yield chunk


def checked(value: Value | None) -> Value:
    """Return the value. Raises a 404 if it is None."""
    if value is None:
        raise HTTPException(404, GONE)
    return value

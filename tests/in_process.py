"""An application without a socket, behind a client that does not know of event loops."""

from __future__ import annotations

import asyncio
import threading

import httpx
from fastapi import FastAPI


class InProcess(httpx.BaseTransport):
    """An application behind a client that does not know of event loops."""

    def __init__(self, app: FastAPI) -> None:
        self._asgi = httpx.ASGITransport(app=app)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop).result(30)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await self._asgi.handle_async_request(request)
        body = b"" if request.method == "HEAD" else await response.aread()  # as a server does
        return httpx.Response(response.status_code, headers=response.headers, content=body)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

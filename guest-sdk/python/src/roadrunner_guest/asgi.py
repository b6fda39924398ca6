"""Runs an ASGI app (version 3.0), such as one of Starlette, with one line:

    asgi.serve(app)

Each request has an event loop of its own, and the lifespan of the app is that of the instance: it starts before the
request and ends after the response. A response that is complete with its first message is buffered; any other is a
stream, and `send` waits while the client does not read. Sync endpoints run in the thread of the event loop, since a
component has no other. `receive` waits for the client: other tasks stand still meanwhile. Not covered: WebSockets of
ASGI; `WebSocket` of this package has them.
"""

import asyncio
import contextlib
import importlib
import sys
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator, MutableMapping
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from . import fields
from .adapter import handler
from .errors import Closed, Error
from .fields import Fields
from .request import Request
from .response import Buffered, Response, Stream
from .wsgi import split_host, split_peer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_VERSIONS = {"version": "3.0", "spec_version": "2.4"}


def serve(app: App) -> None:
    """Makes an app the one that answers requests. A program has one."""
    _run_threads_inline()

    def asgi_app(request: Request) -> Response:
        return respond(app, request)

    handler(asgi_app)


def respond(app: App, request: Request) -> Response:
    """The answer of an app to a request, for a handler that answers others itself."""
    loop = Loop()
    lifespan = _Lifespan(app, loop)
    call = _Call(app, request, loop, lifespan)
    return call.response()


class Loop(asyncio.BaseEventLoop):
    """An event loop in which only time passes: calls to the host suspend the instance, and so the loop."""

    def __init__(self) -> None:
        super().__init__()
        # The base class asks it for events, in each round.
        self._selector = self
        self._is_reached: Callable[[float | None], bool] = lambda _: False

    def run_until(self, is_reached: Callable[[float | None], bool]) -> None:
        """Runs the tasks until `is_reached(seconds)` holds. The seconds are those until a task can go on: 0 while one
        can, None when none ever will.
        """
        self._is_reached = is_reached
        self.run_forever()

    def select(self, timeout: float | None) -> list[Any]:
        """Waits for the next timer."""
        if self._is_reached(timeout):
            self.stop()
        elif timeout is None:
            raise RuntimeError("the app waits for something that cannot happen in a component")
        elif timeout > 0:
            time.sleep(timeout)
        return []

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Calls the function at once."""
        future: asyncio.Future[Any] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class _Lifespan:
    """The app's lifespan: `start` before the request, `stop` after the response."""

    def __init__(self, app: App, loop: Loop) -> None:
        self._loop = loop
        self._stopping: asyncio.Future[None] = loop.create_future()
        self._is_started = False
        self._failure: str | None = None
        self._has_begun = False
        self.state: dict[str, Any] = {}
        scope = {"type": "lifespan", "asgi": _VERSIONS, "state": self.state}
        self._task = loop.create_task(_awaited(app(scope, self._receive, self._send)))

    def start(self) -> None:
        """Raises for an app whose start has failed. An app that knows no lifespan goes without."""
        self._loop.run_until(lambda _: self._is_started or self._task.done())
        if self._failure is not None:
            raise RuntimeError(f"the app's lifespan has not started: {self._failure}")
        if self._task.done() and not self._task.cancelled():
            # An app that knows no lifespan raises, as the specification asks. Asked for, the error is not reported.
            self._task.exception()

    def stop(self) -> None:
        """Ends it."""
        if self._task.done():
            return
        self._stopping.set_result(None)
        self._loop.run_until(lambda seconds: self._task.done() or seconds is None)
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()) is not None:
            traceback.print_exception(error)

    async def _receive(self) -> Message:
        if not self._has_begun:
            self._has_begun = True
            return {"type": "lifespan.startup"}
        await self._stopping
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case "lifespan.startup.complete":
                self._is_started = True
            case "lifespan.startup.failed":
                self._failure = message.get("message") or "no reason is given"


class _Call:
    """One request, and what the app sends."""

    def __init__(self, app: App, request: Request, loop: Loop, lifespan: _Lifespan) -> None:
        self._loop = loop
        self._lifespan = lifespan
        self._body = request.body()
        self._is_body_read = False
        self._failure: Error | None = None
        self._head: tuple[int, list[tuple[str, str]]] | None = None
        self._is_head_out = False
        self._chunks: deque[bytes] = deque()
        self._waiting: list[asyncio.Future[None]] = []
        self._is_complete: asyncio.Future[None] = loop.create_future()
        self._has_trailers = False
        self._trailers: list[tuple[str, str]] = []
        self._is_client_gone = False
        lifespan.start()
        scope = _scope(request) | {"state": lifespan.state.copy()}
        self._task = loop.create_task(_awaited(app(scope, self._receive, self._send)))

    def response(self) -> Response:
        """Runs the app until its answer is known."""
        self._loop.run_until(lambda seconds: self._has_news() or (seconds != 0 and self._head is not None))
        if self._is_complete.done():
            # What an app does after its response is short, or goes on while the client has the response.
            self._loop.run_until(lambda seconds: seconds != 0 or self._task.done())
        if self._failure is not None and (self._head is None or self._head[0] >= 500):
            self._end()
            raise self._failure
        if self._head is None:
            raise self._end() or RuntimeError("the app has sent no response")
        status, headers = self._head
        if not (self._is_complete.done() and self._task.done()):
            return Stream(self._stream(), status, headers)
        if (error := self._end()) is not None:
            traceback.print_exception(error)
        return Buffered(b"".join(self._chunks), status, headers, self._trailers)

    def _stream(self) -> Generator[bytes, None, Fields]:
        """The chunks as the host asks for them; the trailer fields at the end."""
        self._is_head_out = True
        try:
            while True:
                while self._chunks:
                    yield self._chunks.popleft()
                if self._is_complete.done() or self._task.done():
                    break
                self._make_room()
                self._loop.run_until(lambda _: self._has_news())
        except GeneratorExit:
            self._is_client_gone = True
            raise
        finally:
            is_whole = self._is_complete.done()
            error = self._end()
        if not is_whole:
            raise error or RuntimeError("the app has not finished its response")
        if error is not None:
            traceback.print_exception(error)
        return self._trailers

    def _has_news(self) -> bool:
        return bool(self._chunks) or self._is_complete.done() or self._task.done()

    def _end(self) -> BaseException | None:
        """Runs the app and its lifespan to their ends; the error of the app."""
        self._complete()
        self._make_room()
        self._loop.run_until(lambda seconds: self._task.done() or seconds is None)
        if not self._task.done():
            self._task.cancel()
            self._loop.run_until(lambda seconds: self._task.done() or seconds is None)
        self._lifespan.stop()
        self._loop.close()
        return self._task.exception() if self._task.done() and not self._task.cancelled() else None

    def _make_room(self) -> None:
        waiting, self._waiting = self._waiting, []
        for room in waiting:
            if not room.done():
                room.set_result(None)

    async def _receive(self) -> Message:
        if self._head is not None and not self._is_head_out:
            # The client may wait for the head before it sends on.
            await self._wait_for_room()
        if self._is_body_read:
            await asyncio.shield(self._is_complete)
            return {"type": "http.disconnect"}
        try:
            piece = self._body.read()
        except Closed as error:
            self._failure, self._is_body_read = error, True
            return {"type": "http.disconnect"}
        except Error as error:
            self._failure = error
            raise
        self._is_body_read = piece is None
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start":
                self._head = message["status"], _from_raw(message.get("headers", ()))
                self._has_trailers = message.get("trailers", False)
            case "http.response.body":
                await self._send_body(bytes(message.get("body", b"")), message.get("more_body", False))
            case "http.response.trailers":
                self._trailers += _from_raw(message.get("headers", ()))
                if not message.get("more_trailers", False):
                    self._complete()

    async def _send_body(self, chunk: bytes, has_more: bool) -> None:
        if self._head is None:
            raise RuntimeError("the app has sent a body before its head")
        if self._is_client_gone:
            raise OSError("the client is gone")
        if chunk:
            self._chunks.append(chunk)
        if not has_more and not self._has_trailers:
            self._complete()
        elif chunk and has_more:
            await self._wait_for_room()
            if self._is_client_gone:
                raise OSError("the client is gone")

    async def _wait_for_room(self) -> None:
        room: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(room)
        await room

    def _complete(self) -> None:
        if not self._is_complete.done():
            self._is_complete.set_result(None)


async def _awaited(call: Awaitable[None]) -> None:
    """A coroutine, of which a task can be made, whatever the app returns."""
    await call


def _scope(request: Request) -> dict[str, Any]:
    server = split_host(request.authority, request.scheme)
    address, port = split_peer(request.peer)
    headers = [(name.encode(), value) for name, value in fields.to_wit(request.headers) if name != "host"]
    if request.authority:
        headers.insert(0, (b"host", request.authority.encode()))
    return {
        "type": "http",
        "asgi": _VERSIONS,
        "http_version": {"HTTP/2.0": "2", "HTTP/3.0": "3"}.get(request.version, request.version.removeprefix("HTTP/")),
        "method": request.method,
        "scheme": request.scheme,
        "path": unquote(request.path),
        "raw_path": request.path.encode(),
        "query_string": (request.query or "").encode(),
        "root_path": "",
        "headers": headers,
        "client": (address, port) if address else None,
        "server": server,
        "extensions": {"http.response.trailers": {}},
        "roadrunner.request": request,
    }


def _from_raw(headers: Any) -> list[tuple[str, str]]:
    return [(bytes(name).decode("latin-1"), fields.text(bytes(value))) for name, value in headers]


def _run_threads_inline() -> None:
    """A component has one thread: what would run in another runs at once. AnyIO imports its backend only when an app
    runs, when there is nothing left to import from."""
    if "anyio" not in sys.modules:
        return
    with _ssl_to_import():
        importlib.import_module("anyio._backends._asyncio")
    to_thread: Any = importlib.import_module("anyio.to_thread")

    async def run_sync(func: Callable[..., Any], *args: Any, **_: Any) -> Any:
        return func(*args)

    to_thread.run_sync = run_sync


@contextlib.contextmanager
def _ssl_to_import() -> Iterator[None]:
    """The backend imports `ssl`, which Python for WebAssembly lacks, and uses it for sockets only."""
    try:
        importlib.import_module("ssl")
    except ImportError:
        sys.modules["ssl"] = _NoSsl("ssl")
        yield
        del sys.modules["ssl"]
    else:
        yield


class _NoSsl(ModuleType):
    def __getattr__(self, name: str) -> type:
        return type(name, (), {})

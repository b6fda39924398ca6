"""What a handler answers: the five shapes of a response."""

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from .fields import Fields, pairs
from .session import Drain, Event, Sender, Stop, Writer

StepResult = Stop | None
"""What a callback returns: `Stop`, or None to wait for the next event."""


@dataclass(slots=True)
class Buffered:
    """A response that is complete when it is returned.

    A `str` gets the content type `text/plain; charset=utf-8` unless the headers give another, `bytes` get
    `application/octet-stream`.
    """

    body: str | bytes = b""
    status: int = 200
    headers: Fields = field(default_factory=dict)
    trailers: Fields = field(default_factory=dict)


class Json(Buffered):
    """A value as JSON."""

    def __init__(self, value: Any, status: int = 200, headers: Fields = ()) -> None:
        fields = [("content-type", "application/json"), *pairs(headers)]
        super().__init__(json.dumps(value, separators=(",", ":")).encode(), status, fields)


Chunks = Iterable[str | bytes] | Generator[str | bytes, None, Fields | None]
"""What a stream is made of."""


@dataclass(slots=True)
class Stream:
    """A response whose body is written piece by piece. Each chunk leaves at once, and the next one is asked for when
    the client has room for it. What a generator returns are the trailer fields. An exception aborts the body, so that
    the client can tell that it is not whole.
    """

    chunks: Chunks
    status: int = 200
    headers: Fields = field(default_factory=dict)

    def write_to(self, out: Writer) -> Fields:
        """Sends every chunk, and gives the trailer fields."""
        chunks: Iterator[str | bytes] = iter(self.chunks)
        try:
            while True:
                try:
                    chunk = next(chunks)
                except StopIteration as end:
                    return end.value or {}
                out.write(chunk)
        finally:
            # A generator may have something to release.
            if isinstance(chunks, Generator):
                chunks.close()


class Session(Protocol):
    """What drives a held response; its attributes live as long as the response."""

    def on_event(self, event: Event, out: Writer, /) -> StepResult:
        """Called for each event, one at a time."""


@dataclass(slots=True)
class EventLoop:
    """A response that is held open and driven by events. Subscribe and set timers before returning it.

    `session` is a function `(event, out)` or an object with a method `on_event(event, out)`. `Closed`, which a write to
    a departed client raises, ends it quietly; any other exception aborts the body.
    """

    session: Callable[[Event, Writer], StepResult] | Session
    status: int = 200
    headers: Fields = field(default_factory=dict)
    body_events: bool = False
    """Whether pieces of the request body arrive as events. They do not if the handler has taken the body."""

    def on_event(self, event: Event, out: Writer) -> StepResult:
        """Passes an event on."""
        call: Any = getattr(self.session, "on_event", self.session)
        step: StepResult = call(event, out)
        return step


@dataclass(slots=True)
class SendFile:
    """A response whose body is a file below a granted directory. The host sends it, with ranges and caching; status 200
    lets it answer 206, 304 and 416 as the request asks. A path that leaves the directory is answered with 404.
    """

    directory: str
    path: str
    status: int = 200
    headers: Fields = field(default_factory=dict)
    range: tuple[int, int | None] | None = None
    """The first byte and how many (None: all that follow) when the handler chooses a part itself."""


class WebSocketHandler:
    """What drives a WebSocket: a base class for handlers of one's own."""

    def on_open(self, out: Sender) -> StepResult:
        """Called once, after the handshake's answer was sent."""
        return None

    def on_message(self, message: str | bytes, out: Sender) -> StepResult:
        """Called for each complete message."""
        return None

    def on_event(self, event: Event, out: Sender) -> StepResult:
        """Called for each other event. A shutdown of the host closes with 1001 (RFC 6455, 7.4.1)."""
        if isinstance(event, Drain):
            out.close(1001, "the server is shutting down")
            return Stop()
        return None


class _OnMessage(WebSocketHandler):
    def __init__(self, call: Callable[[str | bytes, Sender], StepResult]) -> None:
        self._call = call

    def on_message(self, message: str | bytes, out: Sender) -> StepResult:
        return self._call(message, out)


class WebSocket:
    """The acceptance of a WebSocket handshake (RFC 6455, 8441 or 9220). The host answers pings, reassembles messages
    and checks UTF-8.

    `session` is a function `(message, out)` or a `WebSocketHandler`.
    """

    Handler = WebSocketHandler

    def __init__(
        self,
        session: Callable[[str | bytes, Sender], StepResult] | WebSocketHandler,
        headers: Fields = (),
        subprotocol: str | None = None,
    ) -> None:
        self.session = session if isinstance(session, WebSocketHandler) else _OnMessage(session)
        self.headers = headers
        self.subprotocol = subprotocol
        """The chosen subprotocol: one of those offered, or none."""


Response = str | bytes | Buffered | Stream | EventLoop | SendFile | WebSocket
"""What a handler may return."""

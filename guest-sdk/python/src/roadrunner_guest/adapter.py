"""Joins a handler function to the exports of `roadrunner:handler`.

What the handler returned is kept here between the host's calls; one instance answers one request, so there is one place
for it. The classes are those that componentize-py looks for in the program's main module.
"""

import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from . import fields, log
from .bindings import Err, wit
from .errors import Closed, rejection, to_wit
from .request import Request
from .response import Buffered, EventLoop, Response, SendFile, StepResult, Stream, WebSocket, WebSocketHandler
from .session import Sender, Writer, event, next_step

Function = TypeVar("Function", bound=Callable[[Request], Response])

_entry: Callable[[Request], Response] | None = None
_held: Stream | EventLoop | WebSocketHandler | None = None


def handler(function: Function) -> Function:
    """Makes a function the one that answers requests. A program has one."""
    global _entry
    if _entry is not None:
        raise TypeError(f"there is a handler already: {_entry.__qualname__}")
    _entry = function
    return function


class Handler:
    """Exports `handler`."""

    def handle(self, request: Any) -> Any:
        log.install()
        # Its state is part of the snapshot: every instance would draw the same numbers.
        if (random := sys.modules.get("random")) is not None:
            random.seed()
        if _entry is None:
            raise TypeError("no function is marked with @handler")
        try:
            return _split(_entry(Request(request)))
        except Exception as error:
            answer = rejection(error)
            if answer is None:
                raise
            return _split(Buffered(answer.message + "\n", answer.status))


class Streaming:
    """Exports `streaming`."""

    def run(self, out: Any) -> list[tuple[str, bytes]]:
        stream = _take(Stream)
        try:
            return fields.to_wit(stream.write_to(Writer(out)))
        except Exception as error:
            if not isinstance(error, Closed):
                traceback.print_exc()
            raise Err(to_wit(error)) from error


class EventLoopExport:
    """Exports `event-loop`."""

    def on_event(self, raw: Any, out: Any) -> Any:
        return _step(lambda: _keep(EventLoop).on_event(event(raw), Writer(out)))


class Websocket:
    """Exports `websocket`."""

    def on_open(self, out: Any) -> Any:
        return _step(lambda: _keep(WebSocketHandler).on_open(Sender(out)))

    def on_message(self, message: Any, out: Any) -> Any:
        return _step(lambda: _keep(WebSocketHandler).on_message(message.value, Sender(out)))

    def on_event(self, raw: Any, out: Any) -> Any:
        return _step(lambda: _keep(WebSocketHandler).on_event(event(raw), Sender(out)))


def _split(response: Response) -> Any:
    """Takes a response apart into what goes to the host now and what is kept for its next call."""
    global _held
    _held = None
    match response:
        case str() | bytes():
            return _split(Buffered(response))
        case Buffered():
            text = isinstance(response.body, str)
            body = response.body.encode() if isinstance(response.body, str) else response.body
            headers = fields.to_wit(response.headers)
            if body and not any(name == "content-type" for name, _ in headers):
                kind = b"text/plain; charset=utf-8" if text else b"application/octet-stream"
                headers.append(("content-type", kind))
            head = wit.Head(response.status, headers)
            return wit.Response_Buffered(wit.Buffered(head, body, fields.to_wit(response.trailers)))
        case Stream():
            _held = response
            return wit.Response_Stream(_head(response))
        case EventLoop():
            _held = response
            return wit.Response_Loop(wit.LoopStart(_head(response), response.body_events))
        case SendFile():
            part = None if response.range is None else wit.ByteRange(*response.range)
            return wit.Response_Sendfile(wit.Sendfile(_head(response), response.directory, response.path, part))
        case WebSocket():
            _held = response.session
            return wit.Response_Websocket(wit.WebsocketStart(fields.to_wit(response.headers), response.subprotocol))
        case _:
            raise TypeError(f"a handler cannot return {type(response).__name__}")


def _head(response: Stream | EventLoop | SendFile) -> Any:
    return wit.Head(response.status, fields.to_wit(response.headers))


Held = TypeVar("Held")


def _keep(kind: type[Held]) -> Held:
    """What is held. The host calls only what the response announced."""
    if not isinstance(_held, kind):
        raise TypeError(f"the host called a {kind.__name__}, which the response did not ask for")
    return _held


def _take(kind: type[Held]) -> Held:
    global _held
    held = _keep(kind)
    _held = None
    return held


def _step(call: Callable[[], StepResult]) -> Any:
    """The contract's `next` has no error. A client that left ends the session quietly; any other exception becomes a
    trap, because only a trap aborts the body, and a body that was cut must not look whole.
    """
    try:
        return next_step(call())
    except Closed:
        return wit.Next_Stop([])

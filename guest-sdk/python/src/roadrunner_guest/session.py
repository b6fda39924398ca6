"""What held sessions see and use: events, and the client's end. The WIT items are `types.event` and `types.next`."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, assert_never

from . import fields
from .bindings import wit
from .errors import raised_by_host


@dataclass(frozen=True, slots=True)
class Message:
    """A message on a subscribed topic."""

    topic: str
    payload: bytes
    missed: int
    """How many messages of this topic were lost before this one: because this session's queue was full, or on the way from
    another host. Where the host was cut off from the others, the number is not known, and at least 1."""


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer fired."""

    id: int


@dataclass(frozen=True, slots=True)
class BodyPiece:
    """A piece of the request body."""

    data: bytes


@dataclass(frozen=True, slots=True)
class BodyEnd:
    """The end of the request body."""

    trailers: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Drain:
    """The host is shutting down."""

    milliseconds: int
    """Time left to finish in."""


class Disconnect(Enum):
    """Why a session ended."""

    CLOSED = 0
    """The client ended it in an orderly way."""
    RESET = 1
    """The client reset the stream."""
    CONNECTION_LOST = 2
    """The connection under the stream was lost."""
    TIMEOUT = 3
    """A limit of the host on idleness or duration was reached."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The last event. Nothing can be written any more."""

    reason: Disconnect


Event = Message | Timer | BodyPiece | BodyEnd | Drain | Disconnected
"""What wakes a held session."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Returned from a callback: ends the response. None, or no return at all, waits for the next event."""

    trailers: fields.Fields = field(default_factory=dict)
    """Trailer fields; ignored for a WebSocket."""


class Writer:
    """Writes a response body."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def write(self, chunk: str | bytes) -> None:
        """Sends one chunk, which leaves at once. Waits while the client does not read.

        Raises `Closed` when the client is gone. Uncaught, this ends the session quietly.
        """
        with raised_by_host():
            self._raw.write(chunk.encode() if isinstance(chunk, str) else chunk)


class Sender:
    """Sends on a WebSocket."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def send(self, message: str | bytes) -> None:
        """Sends one message: text for `str`, binary for `bytes`. Waits while the client does not read.

        Raises `Closed` when the client is gone or the close handshake has begun.
        """
        kind = wit.WsMessage_Text if isinstance(message, str) else wit.WsMessage_Binary
        with raised_by_host():
            self._raw.send(kind(message))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Starts the close handshake (RFC 6455, 7.4). Nothing can be sent after it."""
        self._raw.close(code, reason)


def event(raw: Any) -> Event:
    """The contract's event."""
    match raw:
        case wit.Event_Message(value=message):
            return Message(message.topic, message.payload, message.missed)
        case wit.Event_Timer(value=id):
            return Timer(id)
        case wit.Event_Body(value=data):
            return BodyPiece(data)
        case wit.Event_BodyEnd(value=trailers):
            return BodyEnd(fields.from_wit(trailers))
        case wit.Event_Drain(value=milliseconds):
            return Drain(milliseconds)
        case _:
            return Disconnected(Disconnect[raw.value.name])


def next_step(step: Stop | None) -> Any:
    """The contract's `next`."""
    match step:
        case None:
            return wit.Next_Continue()
        case Stop(trailers=trailers):
            return wit.Next_Stop(fields.to_wit(trailers))
        case _:
            assert_never(step)

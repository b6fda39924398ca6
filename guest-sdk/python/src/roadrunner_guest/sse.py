"""Server-sent events (WHATWG HTML, section 9.2). Text from elsewhere cannot start a field or an event of its own."""

import re
from collections.abc import Callable

from .errors import Refused
from .fields import Fields, pairs
from .response import EventLoop, StepResult
from .session import Event, Writer

_LINE_BREAK = re.compile(r"\r\n|\r|\n")


class SseWriter:
    """Sends server-sent events. Each call is one chunk, which leaves at once and waits while the client does not read."""

    def __init__(self, out: Writer) -> None:
        self._out = out

    def send(self, data: str, *, event: str | None = None, id: str | None = None) -> None:
        """Sends an event; its data may have many lines. Raises `Refused` for a name or an id that cannot be framed."""
        self._out.write(_field("event", event) + _field("id", id) + _lines("data: ", data) + "\n")

    def comment(self, text: str) -> None:
        """Sends a comment, which clients ignore and proxies take as a sign of life."""
        self._out.write(_lines(": ", text) + "\n")

    def retry(self, milliseconds: int) -> None:
        """Tells the client how long to wait before it connects again."""
        self._out.write(f"retry: {milliseconds}\n\n")


class Sse(EventLoop):
    """A held response that sends server-sent events, from a function `(event, out)`."""

    def __init__(self, session: Callable[[Event, SseWriter], StepResult], headers: Fields = ()) -> None:
        framing = [("content-type", "text/event-stream"), ("cache-control", "no-cache")]
        super().__init__(lambda event, out: session(event, SseWriter(out)), headers=[*framing, *pairs(headers)])


def _field(name: str, value: str | None) -> str:
    if value is None:
        return ""
    if any(forbidden in value for forbidden in "\r\n\0"):
        raise Refused(f"the {name} of a server-sent event cannot contain line breaks or U+0000")
    return f"{name}: {value}\n"


def _lines(prefix: str, text: str) -> str:
    return "".join(f"{prefix}{line}\n" for line in _LINE_BREAK.split(text))

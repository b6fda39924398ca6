"""Write Roadrunner handlers in Python.

A handler is a function with a decorator. Every request gets an instance of its own, which starts from a snapshot taken
after all imports: a global lasts for one request or one held session. Apps of frameworks are run by the modules
`asgi` and `wsgi`, and `client` asks other servers: import them where they are used. Not covered: `async` handlers (a call
that waits suspends the instance and leaves the host free), hibernation, WebTransport.
"""

from . import bus, config, routes, secrets, sql, store, timers
from .adapter import handler
from .errors import Closed, Error, HttpError, Internal, Refused, TimedOut, TooLarge
from .request import Body, ClientCertificate, Request, WebSocketUpgrade, WebTransportUpgrade
from .response import Buffered, EventLoop, Json, Response, SendFile, Stream, WebSocket
from .session import (
    BodyEnd,
    BodyPiece,
    Disconnect,
    Disconnected,
    Drain,
    Event,
    Message,
    Sender,
    Stop,
    Timer,
    Writer,
)
from .sse import Sse, SseWriter

__all__ = [
    "Body",
    "BodyEnd",
    "BodyPiece",
    "Buffered",
    "ClientCertificate",
    "Closed",
    "Disconnect",
    "Disconnected",
    "Drain",
    "Error",
    "Event",
    "EventLoop",
    "HttpError",
    "Internal",
    "Json",
    "Message",
    "Refused",
    "Request",
    "Response",
    "SendFile",
    "Sender",
    "Sse",
    "SseWriter",
    "Stop",
    "Stream",
    "TimedOut",
    "Timer",
    "TooLarge",
    "WebSocket",
    "WebSocketUpgrade",
    "WebTransportUpgrade",
    "Writer",
    "bus",
    "config",
    "handler",
    "routes",
    "secrets",
    "sql",
    "store",
    "timers",
]

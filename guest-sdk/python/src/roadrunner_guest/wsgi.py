"""Runs a WSGI app (PEP 3333), such as one of Flask or Django, with one line:

    wsgi.serve(app)

A body of at most 64 KiB whose length the app declares, or that it returns as a list, becomes a buffered response. Any
other is a stream: each chunk leaves at once, and the app is asked for the next when the client has room. `wsgi.input`
reads the request's body from the wire where the route's body mode is `manual`. Not covered: what an app passes to
`write` leaves only when the app has returned.
"""

import codecs
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from . import fields
from .adapter import handler
from .errors import Error
from .request import Body, Request
from .response import Buffered, Response, Stream

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], None]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

_BUFFERED = 65536

# A codec is imported when it is first used, when there is nothing left to import from. Werkzeug uses these.
for _codec in ("ascii", "idna", "latin-1", "punycode"):
    codecs.lookup(_codec)


def serve(app: App) -> None:
    """Makes an app the one that answers requests. A program has one."""

    def wsgi_app(request: Request) -> Response:
        return respond(app, request)

    handler(wsgi_app)


def respond(app: App, request: Request) -> Response:
    """The answer of an app to a request, for a handler that answers others itself."""
    source = _Input(request.body())
    call = _Call(source)
    chunks = call.chunks(app(environ(request, source), call.start_response))
    if call.status is None:
        # A generator starts its response with its first chunk.
        call.first = next(chunks, b"")
    if call.status is None:
        raise RuntimeError("the app has not called start_response")
    if call.is_short:
        body = call.first + b"".join(chunks)
        call.check()
        keep = request.method == "HEAD"
        headers = [(name, value) for name, value in call.headers if keep or name.lower() != "content-length"]
        return Buffered(body, call.status, headers)
    call.check()
    return Stream(_after(call.first, chunks), call.status, call.headers)


def environ(request: Request, source: io.RawIOBase) -> Environ:
    """The dictionary of PEP 3333, with the request itself under `roadrunner.request`."""
    host, port = split_host(request.authority, request.scheme)
    address, client_port = split_peer(request.peer)
    made: Environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query or "",
        "RAW_URI": request.path + (f"?{request.query}" if request.query is not None else ""),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": request.version,
        "REMOTE_ADDR": address,
        "REMOTE_PORT": str(client_port),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": io.BufferedReader(source),
        # The end of the body is the end of the input, whether a length was announced or not.
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": True,
        "roadrunner.request": request,
    }
    if request.authority:
        made["HTTP_HOST"] = request.authority
    for name, value in request.headers:
        # `a_b` would pass for `a-b`.
        if "_" in name or name == "host":
            continue
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text = value.encode("utf-8", "surrogateescape").decode("latin-1")
        if key in made:
            text = f"{made[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        made[key] = text
    return made


def split_host(authority: str, scheme: str) -> tuple[str, int]:
    """The host and the port of an authority; of a client that named none, `localhost`."""
    host, colon, port = authority.rpartition(":")
    if colon and port.isdecimal():
        return host, int(port)
    return authority or "localhost", 443 if scheme == "https" else 80


def split_peer(peer: str) -> tuple[str, int]:
    """The address and the port of a client; no address on a Unix socket."""
    address, colon, port = peer.rpartition(":")
    return (address.strip("[]"), int(port)) if colon else ("", 0)


def _after(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from chunks


class _Input(io.RawIOBase):
    """`wsgi.input`. It keeps the error that ended the body: the client's, though an app may answer it with 500."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.error: Error | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            piece = self._body.read(len(buffer)) or b""
        except Error as error:
            self.error = error
            raise
        buffer[: len(piece)] = piece
        return len(piece)


class _Call:
    """What one call of an app makes."""

    def __init__(self, source: _Input) -> None:
        self.status: int | None = None
        self.headers: list[tuple[str, str]] = []
        self.first = b""
        self._source = source
        self._written: list[bytes] = []
        self._is_sent = False
        self._is_list = False

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """The callable of PEP 3333."""
        if exc_info is not None and self._is_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self.status is not None:
            raise AssertionError("start_response was called twice")
        self.status = int(status.split(" ", 1)[0])
        self.headers = [(name, fields.text(value.encode("latin-1"))) for name, value in headers]
        return self._written.append

    @property
    def is_short(self) -> bool:
        """Whether the whole body is worth waiting for."""
        lengths = [value for name, value in self.headers if name.lower() == "content-length"]
        return self._is_list or bool(lengths and lengths[0].isdecimal() and int(lengths[0]) <= _BUFFERED)

    def check(self) -> None:
        """Raises the fault of the client's body, if that is why the app has failed."""
        if self._source.error is not None and (self.status or 500) >= 500:
            raise self._source.error

    def chunks(self, result: Iterable[bytes]) -> Iterator[bytes]:
        """What the app has written, and then what it returned."""
        self._is_list = isinstance(result, list | tuple)
        return self._iterate(result)

    def _iterate(self, result: Iterable[bytes]) -> Iterator[bytes]:
        try:
            first = True
            for chunk in result:
                if first:
                    chunk, first = b"".join(self._written) + chunk, False
                if chunk:
                    # The host sends the head before it asks for the first chunk of a stream.
                    self._is_sent = True
                    yield chunk
            if first and self._written:
                yield b"".join(self._written)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

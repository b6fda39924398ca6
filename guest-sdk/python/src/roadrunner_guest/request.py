"""A request. Nothing of it is copied into the guest before it is asked for: a handler pays for what it reads."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from . import fields
from .bindings import wit
from .errors import HttpError, raised_by_host


@dataclass(frozen=True, slots=True)
class WebSocketUpgrade:
    """A WebSocket is asked for (RFC 6455, 8441 or 9220)."""

    protocols: list[str]
    """The subprotocols that the client offers, in its order."""


@dataclass(frozen=True, slots=True)
class WebTransportUpgrade:
    """A WebTransport session is asked for."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What a client's TLS certificate says, which the host has verified."""

    subject: str
    issuer: str
    serial: str
    names: list[str]
    sha256: str


class Body:
    """A request body. Iterating over it gives its pieces as they come."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def read(self, limit: int = 0) -> bytes | None:
        """The next piece, of at most `limit` bytes (0: as much as is there, at most 64 KiB); None at the end.

        Raises `Closed` when the client cut the body short, `TimedOut` and `TooLarge`.
        """
        if self._raw is None:
            return None
        with raised_by_host():
            piece: bytes | None = self._raw.read(limit)
        return piece

    def read_all(self) -> bytes:
        """All that is left. Raises as `read`."""
        if self._raw is None:
            return b""
        with raised_by_host():
            rest: bytes = self._raw.read_to_end()
        return rest

    def trailers(self) -> list[tuple[str, str]]:
        """The trailer fields that followed the body; what is left of the body is read and dropped first."""
        if self._raw is None:
            return []
        with raised_by_host():
            return fields.from_wit(self._raw.trailers())

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self.read()) is not None:
            yield piece


class Request:
    """A request."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    @property
    def id(self) -> str:
        """The id that also stands in the access log."""
        return str(self._raw.id())

    @property
    def method(self) -> str:
        """The method, in the client's case: `GET`."""
        return str(self._raw.method())

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return str(self._raw.scheme())

    @property
    def authority(self) -> str:
        """The host, and the port when one was given: `example.com:8080`."""
        return str(self._raw.authority())

    @property
    def path(self) -> str:
        """The path as it was sent, still percent-encoded, without the query."""
        return str(self._raw.path())

    @property
    def query(self) -> str | None:
        """What follows the `?`, still percent-encoded; None without a `?`."""
        query: str | None = self._raw.query()
        return query

    @property
    def query_pairs(self) -> list[tuple[str, str]]:
        """The query's pairs, decoded, in order."""
        return parse_qsl(self.query or "", keep_blank_values=True)

    def query_param(self, name: str, default: str = "") -> str:
        """The first value of this name in the query, decoded."""
        return next((value for key, value in self.query_pairs if key == name), default)

    @property
    def version(self) -> str:
        """The HTTP version that the client spoke: `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0` or `HTTP/3.0`."""
        names = {"HTTP10": "HTTP/1.0", "HTTP11": "HTTP/1.1", "HTTP2": "HTTP/2.0", "HTTP3": "HTTP/3.0"}
        return names[self._raw.version().name]

    @property
    def peer(self) -> str:
        """The client's address and port, after trusted forwarding; `local` on a Unix socket."""
        return str(self._raw.peer())

    @property
    def client_certificate(self) -> ClientCertificate | None:
        """The client's TLS certificate, if it has shown one that the listener trusts."""
        seen = self._raw.client_certificate()
        if seen is None:
            return None
        return ClientCertificate(seen.subject, seen.issuer, seen.serial, seen.names, seen.sha256)

    def param(self, name: str, default: str = "") -> str:
        """What the route's pattern captured under this name, percent-decoded."""
        value: str | None = self._raw.param(name)
        return default if value is None else value

    @property
    def params(self) -> dict[str, str]:
        """All captures of the route's pattern."""
        return dict(self._raw.params())

    @property
    def route(self) -> str | None:
        """The name of the route that matched, if the manifest gave it one."""
        name: str | None = self._raw.route()
        return name

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        value = self._raw.header(name.lower())
        return None if value is None else fields.text(value)

    def header_values(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return [fields.text(value) for value in self._raw.header_values(name.lower())]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Every header field, with its name in lower case."""
        return fields.from_wit(self._raw.headers())

    def body(self) -> Body:
        """The body; an empty one when the request has none, and from the second call on."""
        return Body(self._raw.body())

    def text(self) -> str:
        """The body as UTF-8. Raises `HttpError` 400 for anything else."""
        try:
            return self.body().read_all().decode()
        except UnicodeDecodeError:
            raise HttpError(400, "the request body is not UTF-8") from None

    def json(self) -> Any:
        """The body as JSON. Raises `HttpError`: 415 for another content type, 400 for what is not JSON."""
        self._expect("application/json")
        try:
            return json.loads(self.body().read_all())
        except ValueError as error:
            raise HttpError(400, f"the request body is not JSON: {error}") from None

    def form(self) -> list[tuple[str, str]]:
        """The pairs of a urlencoded form. Raises `HttpError` 415 for another content type."""
        self._expect("application/x-www-form-urlencoded")
        return parse_qsl(self.text(), keep_blank_values=True)

    @property
    def upgrade(self) -> WebSocketUpgrade | WebTransportUpgrade | None:
        """What the request asks to become, on a WebSocket or WebTransport handshake."""
        match self._raw.upgrade():
            case None:
                return None
            case wit.Upgrade_Websocket(value=protocols):
                return WebSocketUpgrade(protocols)
            case _:
                return WebTransportUpgrade()

    def _expect(self, wanted: str) -> None:
        essence = (self.header("content-type") or "").split(";")[0].strip().lower()
        if essence != wanted:
            raise HttpError(415, f"the request body should be {wanted}")

"""Requests to other servers, which the manifest grants by origin (`outbound` of the component).

`get`, `post` and the like return when the answer's head is there; its body is read when it is asked for. `Exchange` is
a request whose body is written piece by piece, also while the answer comes. A call that waits suspends the instance and
leaves the host free. Not covered: cookies, redirects (they are answers like any other), proxies, client certificates.
"""

import json as json_module
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from . import fields
from .bindings import Err, http_types, outgoing_handler, streams
from .errors import NotGranted, RequestError, Timeout
from .fields import Fields, pairs

__all__ = [
    "Exchange",
    "HTTPError",
    "NotGranted",
    "RequestError",
    "Response",
    "Timeout",
    "delete",
    "get",
    "head",
    "patch",
    "post",
    "put",
    "request",
]

Data = bytes | str | Mapping[str, str] | Iterable[bytes | str]
"""A body: bytes, text, a form's fields, or pieces that are sent as they are made."""

_PIECE = 65536
_METHODS = ("get", "head", "post", "put", "delete", "connect", "options", "trace", "patch")
_DENIED = "http-request-denied"
_PROHIBITED = "destination-ip-prohibited"
_TIMEOUTS = {
    "dns-timeout",
    "connection-timeout",
    "connection-read-timeout",
    "connection-write-timeout",
    "http-response-timeout",
}


class HTTPError(RequestError):
    """What `Response.raise_for_status` raises."""


class Response:
    """An answer, whose body is read when it is asked for."""

    def __init__(self, raw: Any, url: str) -> None:
        self.url = url
        self.status_code: int = raw.status()
        self.header_pairs = fields.from_wit(raw.headers().entries())
        """Every field, in order."""
        self._body: Any = raw.consume()
        self._stream: Any = self._body.stream()
        self._content: bytes | None = None
        self._trailers: list[tuple[str, str]] = []

    @property
    def headers(self) -> dict[str, str]:
        """The fields by their names in lower case; values of a repeated one are joined by commas."""
        joined: dict[str, str] = {}
        for name, value in self.header_pairs:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status_code < 400

    @property
    def content(self) -> bytes:
        """The whole body."""
        if self._content is None:
            self._content = b"".join(self.iter_content())
        return self._content

    @property
    def text(self) -> str:
        """The whole body as text, in the charset of its content type or as UTF-8."""
        _, _, charset = self.headers.get("content-type", "").lower().partition("charset=")
        charset = charset.split(";")[0].strip(" \"'") or "utf-8"
        try:
            return self.content.decode(charset, "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailer fields, once the body was read to its end."""
        return self._trailers

    def json(self) -> Any:
        """The body as JSON."""
        return json_module.loads(self.content)

    def iter_content(self, size: int = _PIECE) -> Iterator[bytes]:
        """The body's pieces as they come, of at most `size` bytes. Raises `RequestError` where it is cut short."""
        if self._content is not None:
            yield self._content
            return
        while self._stream is not None:
            try:
                piece = self._stream.blocking_read(size)
            except Err as error:
                if not isinstance(error.value, streams.StreamError_Closed):
                    raise _stream_failure(error.value, self.url) from None
                self._finish()
                return
            if piece:
                yield piece

    def raise_for_status(self) -> None:
        """Raises `HTTPError` for a status from 400 on."""
        if not self.ok:
            raise HTTPError(f"{self.url} answered with {self.status_code}", "http-status")

    def close(self) -> None:
        """Gives up the rest of the body."""
        _drop(self._stream, self._body)
        self._stream = self._body = None

    def _finish(self) -> None:
        _drop(self._stream)
        future = http_types.IncomingBody.finish(self._body)
        self._stream = self._body = None
        _wait(future)
        outcome = future.get()
        _drop(future)
        if outcome is None or isinstance(outcome, Err):
            return
        if isinstance(outcome.value, Err):
            raise _failure(outcome.value.value, self.url)
        if outcome.value.value is not None:
            self._trailers = fields.from_wit(outcome.value.value.entries())

    def __enter__(self) -> "Response":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Exchange:
    """A request whose head is sent. Write its body, and take the answer at any time:

        exchange = client.Exchange("POST", "https://example.com/upload")
        for piece in request.body():
            exchange.write(piece)
        response = exchange.response()
    """

    def __init__(self, method: str, url: str, headers: Fields = (), timeout: float | None = None) -> None:
        """Sends the head. `timeout`, in seconds, bounds connecting, the wait for the answer and that for each piece of
        it. Raises `NotGranted`, and `ValueError` for what is no URL of http or https.
        """
        self.url = url
        request = _request(method, url, headers)
        self._body: Any = request.body()
        self._stream: Any = self._body.write()
        try:
            self._future: Any = outgoing_handler.handle(request, _options(timeout))
        except Err as error:
            raise _failure(error.value, url) from None

    def write(self, data: bytes | str) -> bool:
        """Sends a piece of the body. Waits while the server does not read; False when it reads no more."""
        left = data.encode() if isinstance(data, str) else data
        try:
            while left and self._stream is not None:
                room = self._stream.check_write()
                if room == 0:
                    _wait(self._stream)
                    continue
                self._stream.write(left[:room])
                left = left[room:]
            if self._stream is not None:
                self._stream.flush()
        except Err:
            # Why is told with the answer, if there is one.
            _drop(self._stream)
            self._stream = None
        return self._stream is not None

    def finish(self, trailers: Fields = ()) -> None:
        """Ends the body."""
        if self._body is None:
            return
        given = pairs(trailers)
        end = http_types.Fields.from_list(fields.to_wit(given)) if given else None
        _drop(self._stream)
        body, self._body, self._stream = self._body, None, None
        try:
            http_types.OutgoingBody.finish(body, end)
        except Err as error:
            raise _failure(error.value, self.url) from None

    def head(self) -> Response:
        """The answer, while the request's body may still be written. Waits for its head."""
        _wait(self._future)
        outcome = self._future.get().value
        _drop(self._future)
        if isinstance(outcome, Err):
            raise _failure(outcome.value, self.url)
        return Response(outcome.value, self.url)

    def response(self) -> Response:
        """Ends the body, and waits for the answer."""
        if self._stream is not None:
            self.finish()
        return self.head()


def request(
    method: str,
    url: str,
    *,
    params: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    headers: Fields = (),
    data: Data | None = None,
    json: Any = None,
    timeout: float | None = None,
) -> Response:
    """Sends a request, and waits for the head of the answer. `timeout` is that of `Exchange`."""
    if params is not None:
        url += ("&" if "?" in url else "?") + urlencode(pairs(params))
    given = pairs(headers)
    body, kind = _encoded(data, json)
    if kind is not None and not any(name.lower() == "content-type" for name, _ in given):
        given.append(("content-type", kind))
    if isinstance(body, bytes) and (body or method.upper() in ("POST", "PUT", "PATCH")):
        given.append(("content-length", str(len(body))))
    exchange = Exchange(method, url, given, timeout)
    for piece in [body] if isinstance(body, bytes) else body:
        if not exchange.write(piece):
            break
    return exchange.response()


def get(url: str, **options: Any) -> Response:
    """`request` with GET."""
    return request("GET", url, **options)


def head(url: str, **options: Any) -> Response:
    """`request` with HEAD."""
    return request("HEAD", url, **options)


def post(url: str, **options: Any) -> Response:
    """`request` with POST."""
    return request("POST", url, **options)


def put(url: str, **options: Any) -> Response:
    """`request` with PUT."""
    return request("PUT", url, **options)


def patch(url: str, **options: Any) -> Response:
    """`request` with PATCH."""
    return request("PATCH", url, **options)


def delete(url: str, **options: Any) -> Response:
    """`request` with DELETE."""
    return request("DELETE", url, **options)


def _encoded(data: Data | None, json: Any) -> tuple[bytes | Iterable[bytes | str], str | None]:
    """A body, and its content type."""
    if json is not None:
        return json_module.dumps(json, separators=(",", ":")).encode(), "application/json"
    match data:
        case None:
            return b"", None
        case bytes():
            return data, None
        case str():
            return data.encode(), "text/plain; charset=utf-8"
        case Mapping():
            return urlencode(list(data.items())).encode(), "application/x-www-form-urlencoded"
        case _:
            return data, None


def _request(method: str, url: str, headers: Fields) -> Any:
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.netloc:
        raise ValueError(f"{url!r} is no URL of http or https")
    try:
        made = http_types.OutgoingRequest(http_types.Fields.from_list(fields.to_wit(headers)))
    except Err:
        raise ValueError("a header field is not one that a request may have") from None
    name = method.lower()
    kind = getattr(http_types, f"Method_{name.capitalize()}")() if name in _METHODS else http_types.Method_Other(method)
    target = (place.path or "/") + (f"?{place.query}" if place.query else "")
    try:
        made.set_method(kind)
        made.set_scheme(http_types.Scheme_Https() if place.scheme == "https" else http_types.Scheme_Http())
        made.set_authority(place.netloc)
        made.set_path_with_query(target)
    except Err:
        raise ValueError(f"{method!r} {url!r} is no request") from None
    return made


def _options(timeout: float | None) -> Any:
    if timeout is None:
        return None
    nanoseconds = max(1, round(timeout * 1e9))
    options = http_types.RequestOptions()
    options.set_connect_timeout(nanoseconds)
    options.set_first_byte_timeout(nanoseconds)
    options.set_between_bytes_timeout(nanoseconds)
    return options


def _wait(source: Any) -> None:
    pollable = source.subscribe()
    pollable.block()
    _drop(pollable)


def _drop(*resources: Any) -> None:
    for resource in resources:
        if resource is not None:
            resource.__exit__(None, None, None)


def _stream_failure(error: Any, url: str) -> RequestError:
    code = http_types.http_error_code(error.value)
    return RequestError(f"the answer of {url} was cut short", "internal-error") if code is None else _failure(code, url)


def _failure(raw: Any, url: str) -> RequestError:
    """The exception for an `error-code` of wasi:http."""
    code = error_name(type(raw).__name__)
    place = urlsplit(url)
    origin = f"{place.scheme}://{place.netloc}"
    if code == _DENIED:
        return NotGranted(f'the manifest does not grant {origin}: add it to "outbound" of the component', code)
    if code == _PROHIBITED:
        text = f'{place.netloc} has no public address, which "outbound-private = true" of the component would allow'
        return NotGranted(text, code)
    if code in _TIMEOUTS:
        return Timeout(f"the request to {origin} took too long ({code})", code)
    return RequestError(f"the request to {origin} failed: {code}", code)


def error_name(case: str) -> str:
    """`connection-refused` for `ErrorCode_ConnectionRefused`."""
    words = ""
    for letter in case.removeprefix("ErrorCode_"):
        words += f"-{letter.lower()}" if letter.isupper() and words else letter.lower()
    return words

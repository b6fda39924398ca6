"""Requests made of values, and a client that reads a response."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from roadrunner_guest.errors import Closed
from roadrunner_guest.request import Request
from roadrunner_guest.response import Buffered, Stream


class _Body:
    def __init__(self, pieces: Iterable[bytes | Exception], reads: list[bytes]) -> None:
        self._pieces = list(pieces)
        self._reads = reads

    def read(self, limit: int) -> bytes | None:
        if not self._pieces:
            return None
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        if limit and len(piece) > limit:
            self._pieces.insert(0, piece[limit:])
            piece = piece[:limit]
        self._reads.append(piece)
        return piece


def request(
    target: str = "/",
    method: str = "GET",
    headers: Iterable[tuple[str, bytes]] = (),
    body: Iterable[bytes | Exception] | None = None,
    reads: list[bytes] | None = None,
) -> Request:
    """A request; `reads` collects the pieces of its body as they are read."""
    path, mark, query = target.partition("?")
    seen = [] if reads is None else reads
    raw: Any = SimpleNamespace(
        method=lambda: method,
        scheme=lambda: "http",
        authority=lambda: "localhost:8080",
        path=lambda: path,
        query=lambda: query if mark else None,
        version=lambda: SimpleNamespace(name="HTTP11"),
        peer=lambda: "192.0.2.1:50000",
        headers=lambda: list(headers),
        body=lambda: None if body is None else _Body(body, seen),
    )
    return Request(raw)


class Client:
    """Reads a response: what it has written when it leaves is in `chunks`."""

    def __init__(self, leaves_after: int | None = None) -> None:
        self.chunks: list[bytes] = []
        self._left = leaves_after

    def write(self, chunk: bytes | str) -> None:
        if self._left is not None and len(self.chunks) >= self._left:
            raise Closed("the other side is gone")
        self.chunks.append(chunk.encode() if isinstance(chunk, str) else chunk)


def body_of(response: Any) -> bytes:
    """All of a response's body."""
    if isinstance(response, Buffered):
        return response.body if isinstance(response.body, bytes) else response.body.encode()
    assert isinstance(response, Stream), response
    client: Any = Client()
    response.write_to(client)
    return b"".join(client.chunks)

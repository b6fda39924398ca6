"""Stores of keys and values that the manifest grants to this component.

Each component sees keys of its own, unless the store is shared. Every operation waits for the store and leaves the host
free meanwhile. It raises `TimedOut` when the store does not answer in time (what was asked for may then still happen),
`Internal` when it fails, `TooLarge` over its limits.
"""

from dataclasses import dataclass
from typing import Any

from .bindings import store
from .errors import raised_by_host


@dataclass(frozen=True)
class Page:
    """Some keys of a bucket."""

    keys: list[str]
    """The keys, in no certain order."""
    cursor: str | None
    """What brings the next page; none after the last."""


class Bucket:
    """The keys of one store that this component sees."""

    def __init__(self, name: str) -> None:
        """Opens a store by its name in the manifest. Raises `Refused` for any name that is not granted."""
        with raised_by_host():
            self._raw: Any = store.open(name)

    def get(self, key: str) -> bytes | None:
        """What stands under a key."""
        with raised_by_host():
            value: bytes | None = self._raw.get(key)
        return value

    def set(self, key: str, value: str | bytes, ttl: float | None = None) -> None:
        """Puts a value under a key, for so many seconds or until it is changed."""
        with raised_by_host():
            self._raw.set(key, _bytes(value), _milliseconds(ttl))

    def set_if(self, key: str, expected: str | bytes | None, value: str | bytes, ttl: float | None = None) -> bool:
        """The same if what stands there now is `expected`, or nothing for None. Whether it was."""
        with raised_by_host():
            before = None if expected is None else _bytes(expected)
            was: bool = self._raw.set_if(key, before, _bytes(value), _milliseconds(ttl))
        return was

    def delete(self, key: str) -> bool:
        """Removes a key. Whether it was there."""
        with raised_by_host():
            was: bool = self._raw.delete(key)
        return was

    def exists(self, key: str) -> bool:
        """Whether a key is there."""
        with raised_by_host():
            there: bool = self._raw.exists(key)
        return there

    def increment(self, key: str, delta: int = 1) -> int:
        """Adds to the number under a key; nothing counts as 0. The sum. Raises `Refused` when there is no number."""
        with raised_by_host():
            total: int = self._raw.increment(key, delta)
        return total

    def keys(self, prefix: str = "", cursor: str | None = None, limit: int = 0) -> Page:
        """Keys that begin with a prefix: about `limit` of them, 0 for as many as the host gives at once."""
        with raised_by_host():
            page = self._raw.keys(prefix, cursor, limit)
        return Page(page.keys, page.cursor)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds * 1000))

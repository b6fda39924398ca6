"""What can go wrong between a guest and its host. The WIT item is `types.error`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .bindings import Err, wit


class Error(Exception):
    """An operation on a body, a writer or a topic failed."""


class Closed(Error):
    """The other side is gone, or this side has already finished."""


class TimedOut(Error):
    """A deadline of the host passed."""


class TooLarge(Error):
    """A limit would have been exceeded."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"larger than the limit of {limit} bytes")
        self.limit = limit
        """The limit, in bytes."""


class Refused(Error):
    """The host's policy does not allow it; the text names the rule."""


class Internal(Error):
    """A fault that is not the guest's."""


class RequestError(Error):
    """A request to another server got no answer, or not all of it. Uncaught, the client gets 502."""

    status = 502

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code
        """The name of the case of `wasi:http/types.error-code`: `connection-refused`."""


class NotGranted(RequestError):
    """The manifest does not grant the request; the text names the key. Uncaught, the client gets 500."""

    status = 500


class Timeout(RequestError):
    """A timeout of the request or of the host has passed. Uncaught, the client gets 504."""

    status = 504


class HttpError(Exception):
    """Ends a handler with this status and a line of text for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@contextmanager
def raised_by_host() -> Iterator[None]:
    """Turns the contract's errors into exceptions of this module."""
    try:
        yield
    except Err as error:
        raise from_wit(error.value) from None


def from_wit(error: Any) -> Error:
    """The exception for an error of the contract."""
    match error:
        case wit.Error_Closed():
            return Closed("the other side is gone")
        case wit.Error_Timeout():
            return TimedOut("a deadline passed")
        case wit.Error_TooLarge(value=limit):
            return TooLarge(limit)
        case wit.Error_Refused(value=rule):
            return Refused(rule)
        case _:
            return Internal(error.value)


def to_wit(error: Exception) -> Any:
    """The contract's error for an exception that ends a stream."""
    match error:
        case Closed():
            return wit.Error_Closed()
        case TimedOut():
            return wit.Error_Timeout()
        case TooLarge():
            return wit.Error_TooLarge(error.limit)
        case Refused():
            return wit.Error_Refused(str(error))
        case _:
            return wit.Error_Internal(f"{type(error).__name__}: {error}")


def rejection(error: Exception) -> HttpError | None:
    """The answer to a request that made a handler fail; none when the fault is the guest's."""
    match error:
        case HttpError():
            return error
        case Closed():
            return HttpError(400, "the request body was cut short")
        case TimedOut():
            return HttpError(408, "the request took too long")
        case TooLarge():
            return HttpError(413, f"the request body is larger than {error.limit} bytes")
        case RequestError():
            # The reason is for the log.
            print(error, file=sys.stderr)
            return HttpError(error.status, "a request to another server has failed")
        case _:
            return None

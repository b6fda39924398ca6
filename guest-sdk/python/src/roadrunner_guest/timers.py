"""Timers of a held session; each firing is a `Timer` event. Times are in seconds, as in the standard library."""

from .bindings import timers


def after(seconds: float) -> int:
    """Fires once, after this time. Returns the timer's id."""
    id: int = timers.after(round(seconds * 1000))
    return id


def every(seconds: float) -> int:
    """Fires again and again, at least a millisecond apart. Returns the timer's id."""
    id: int = timers.every(max(1, round(seconds * 1000)))
    return id


def cancel(id: int) -> None:
    """Stops a timer; an unknown id does nothing."""
    timers.cancel(id)

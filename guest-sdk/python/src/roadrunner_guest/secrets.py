"""The secrets that the manifest grants to this component."""

from .bindings import secrets


def get(name: str) -> bytes | None:
    """One secret. None for any name that is not granted, whether there is such a secret or not. Do not log it."""
    value: bytes | None = secrets.get(name)
    return value

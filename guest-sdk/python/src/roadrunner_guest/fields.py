"""Header and trailer fields: text in Python, bytes in the contract, in order and with repeats."""

from collections.abc import Iterable, Mapping

Fields = Mapping[str, str] | Iterable[tuple[str, str]]
"""What handlers give: a dict, or pairs where a name is repeated."""


def to_wit(fields: Fields) -> list[tuple[str, bytes]]:
    """Fields for the host. Bytes that are no UTF-8 come back as they were received."""
    return [(name.lower(), value.encode("utf-8", "surrogateescape")) for name, value in pairs(fields)]


def from_wit(fields: Iterable[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """Fields from the host."""
    return [(name, text(value)) for name, value in fields]


def text(value: bytes) -> str:
    """One value. Bytes that are no UTF-8 become surrogates (PEP 383), as in WSGI servers' paths."""
    return value.decode("utf-8", "surrogateescape")


def pairs(fields: Fields) -> list[tuple[str, str]]:
    """Fields as a list."""
    return list(fields.items()) if isinstance(fields, Mapping) else list(fields)

"""The values that the manifest gives to this route and component."""

from .bindings import config


def get(key: str, default: str | None = None) -> str | None:
    """One value by its key."""
    value: str | None = config.get(key)
    return default if value is None else value


def entries() -> dict[str, str]:
    """All values."""
    return dict(config.entries())

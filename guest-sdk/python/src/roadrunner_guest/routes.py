"""The manifest's named routes, for links that stay right when a path changes."""

from .bindings import routes
from .errors import raised_by_host


def url_for(name: str, **params: str) -> str:
    """The path of a named route with its parameters filled in and percent-encoded.

    Raises `Refused` for an unknown route, a missing or an extra parameter.
    """
    with raised_by_host():
        path: str = routes.url_for(name, list(params.items()))
    return path

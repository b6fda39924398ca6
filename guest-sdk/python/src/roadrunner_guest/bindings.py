"""The generated bindings, which are there only inside a component.

Outside of one, handlers can be imported and tested, and whatever asks the host raises `RuntimeError`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


class _Absent:
    """Stands in for a generated module."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"{name} asks the host: it works only in a component, when Roadrunner runs it")


def _generated(name: str) -> Any:
    try:
        return import_module(f"wit_world.imports.{name}")
    except ImportError:
        return _Absent()


bus: Any = _generated("bus")
config: Any = _generated("config")
log: Any = _generated("log")
routes: Any = _generated("routes")
secrets: Any = _generated("secrets")
sql: Any = _generated("sql")
store: Any = _generated("store")
timers: Any = _generated("timers")
wit: Any = _generated("roadrunner_handler_types")

# Of WASI.
http_types: Any = _generated("wasi_http_types")
outgoing_handler: Any = _generated("outgoing_handler")
streams: Any = _generated("streams")

if TYPE_CHECKING:

    class Err(Exception):
        """How the bindings raise an error of the contract, and how it is raised to the host."""

        def __init__(self, value: Any) -> None:
            self.value: Any = value

else:
    try:
        from componentize_py_types import Err
    except ImportError:

        class Err(Exception):
            """Never raised here."""

"""Joins the standard library's `logging` to the host's log, which adds the request's id, route and component."""

import logging
from logging import DEBUG, ERROR, INFO, WARNING

from .bindings import log


class HostHandler(logging.Handler):
    """Writes each record as one line of the host's log."""

    def emit(self, record: logging.LogRecord) -> None:
        levels = log.Level
        match record.levelno:
            case number if number >= ERROR:
                level = levels.ERROR
            case number if number >= WARNING:
                level = levels.WARN
            case number if number >= INFO:
                level = levels.INFO
            case number if number >= DEBUG:
                level = levels.DEBUG
            case _:
                level = levels.TRACE
        log.log(level, self.format(record))


def install() -> None:
    """Sends every record of level INFO and above to the host, unless the program has set `logging` up itself."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(HostHandler())
        root.setLevel(INFO)

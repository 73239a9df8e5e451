"""Logs: structlog in front of the standard library's loggers, so that a host's own handlers get them."""

import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any

import structlog

__all__ = ["LEVELS", "Seldom", "configure", "get_logger"]

#: The original's level names, in the standard library's numbers.
LEVELS = {"off": 100, "error": 40, "warn": 30, "info": 20, "debug": 10, "trace": 5}

SELDOM_SECONDS = 60.0


def get_logger(name: str) -> Any:
    """A logger that takes an event and values: ``log.info("node is up", node="a")``. Configures nothing."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _render],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


class Seldom:
    """Warns of what others can cause as often as they like: of each event once a minute."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._told: dict[str, float] = {}

    def warning(self, event: str, **values: object) -> bool:
        """Whether it did. The event is a text of ours, of which there are only so many."""
        now = time.monotonic()
        if now - self._told.get(event, float("-inf")) < SELDOM_SECONDS:
            return False
        self._told[event] = now
        self._log.warning(event, **values)
        return True


def configure(level: str) -> None:
    """Send the process's logs to standard error. For the command line; a host application has its own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    handler.addFilter(_client_faults)
    # What no line shows need not be found out (logging's HOWTO, "Optimization").
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[level])
    for noisy in ("aioice", "aiortc", "aiosqlite", "asyncio"):
        logging.getLogger(noisy).setLevel(max(LEVELS[level], logging.WARNING))


def _render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> tuple[Any, ...]:
    message = str(event.pop("event"))
    kwargs = {key: event.pop(key) for key in ("exc_info", "stack_info", "stacklevel") if key in event}
    words = [message, *(f"{key}={_quoted(value)}" for key, value in event.items())]
    return (" ".join(words),), kwargs


def _quoted(value: object) -> str:
    text = str(value)
    return text if text.isascii() and text.isprintable() and " " not in text and text else repr(text)


class _Formatter(logging.Formatter):
    """Takes a second's date and time apart once, and not for each line of an access log."""

    _second = (0, "")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        second = int(record.created)
        if self._second[0] != second:
            self._second = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._second[1]},{int(record.msecs):03d}"


def _client_faults(record: logging.LogRecord) -> bool:
    """Malformed requests are answered with 400 by aiohttp; they are the client's fault, not ours."""
    if record.name != "aiohttp.server" or not record.exc_info:
        return True
    from aiohttp.http_exceptions import HttpProcessingError

    return not isinstance(record.exc_info[1], HttpProcessingError)

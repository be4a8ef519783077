"""Structured logs: one JSON object a line (readable text on a terminal), on standard error. Invariant: every line
carries service, trace_id and business_id of the running scope; sensitive values never get here."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from runtime.context import scope_or_none

_QUIET_LOGGERS = (
    "opentelemetry",
    "grpc",
    "nats",
    "sqlalchemy",
    "psycopg",
    "httpx",
    "uvicorn.access",
    "asyncio",
)

_encode_json = json.JSONEncoder(default=repr, ensure_ascii=False, separators=(",", ":")).encode


class _Logs:
    """What `setup_logging` decided for the process."""

    def __init__(self) -> None:
        self.service_name = ""
        self.threshold = logging.INFO
        self.on_terminal = False


_logs = _Logs()


class _StandardError:
    """Standard error as it is when a line is written, so that whoever redirects it gets the lines."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


_standard_error = cast("TextIO", _StandardError())


def setup_logging(service_name: str, *, level: str = "INFO") -> None:
    """Sends the process's logs, those of libraries included, to standard error in one form. Idempotent."""
    _logs.service_name = service_name
    _logs.threshold = logging.getLevelNamesMapping()[level]
    _logs.on_terminal = sys.stderr.isatty()
    chain: list[Processor] = [structlog.processors.add_log_level, _add_scope]
    if _logs.on_terminal:
        renderer: Processor = structlog.dev.ConsoleRenderer()
    else:
        chain.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(lambda event, **_options: _encode_json(event))
    structlog.configure(
        processors=[*chain, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_logs.threshold),
        logger_factory=structlog.WriteLoggerFactory(file=_standard_error),
        cache_logger_on_first_use=False,
    )
    _adopt_library_logs(chain, renderer)


def get_logger() -> FilteringBoundLogger:
    """Returns the logger: `get_logger().info("order closed", order_id=order_id)`; never an f-string or secret."""
    return cast("FilteringBoundLogger", structlog.get_logger())


def annotate(**fields: object) -> None:
    """Adds fields to the canonical line of the running rpc; does nothing outside of one.

    Values are numbers, states and names that JSON can hold; the last value of a name wins.
    """
    scope = scope_or_none()
    if scope is not None and scope.record is not None:
        scope.record.fields.update(fields)


def write_canonical_line(fields: dict[str, object], *, failed: bool) -> None:
    """Writes the one line that stays of a call, at level error when the server failed and info otherwise.

    It takes the short way to the same form, since it is paid by every call.
    """
    if _logs.on_terminal:
        logger = get_logger()
        (logger.error if failed else logger.info)("rpc", **fields)
    elif failed or _logs.threshold <= logging.INFO:
        line: dict[str, object] = {"event": "rpc", "level": "error" if failed else "info"}
        line.update(fields)
        _add_scope(None, "", line)
        sys.stderr.write(_encode_json(line) + "\n")


def _add_scope(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["time"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    event["service"] = _logs.service_name
    scope = scope_or_none()
    if scope is not None:
        event["trace_id"] = scope.trace.trace_id
        record_business_id = scope.record.business_id if scope.record is not None else ""
        event["business_id"] = record_business_id or scope.platform.business_id
    return event


def _adopt_library_logs(chain: list[Processor], renderer: Processor) -> None:
    handler = logging.StreamHandler(_standard_error)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *chain],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_logs.threshold)
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(_logs.threshold, logging.WARNING))

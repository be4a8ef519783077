"""Structured logs: one JSON object a line (readable text on a terminal), on standard error. Invariant: every
line carries service, trace_id and business_id of the running scope; sensitive values never get here."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, cast

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


def setup_logging(service_name: str, *, level: str = "INFO") -> None:
    """Sends the process's logs, those of libraries included, to standard error in one form. Idempotent."""
    threshold = logging.getLevelNamesMapping()[level]
    on_terminal = sys.stderr.isatty()
    add_scope = _scope_adder(service_name)
    renderer: Processor = (
        structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer(_to_json)
    )
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
    exceptions: list[Processor] = [] if on_terminal else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[structlog.processors.add_log_level, add_scope, stamp, *exceptions, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    _adopt_library_logs(threshold, [structlog.stdlib.add_log_level, add_scope, stamp, *exceptions], renderer)


def get_logger() -> FilteringBoundLogger:
    """Returns the logger: `get_logger().info("order closed", order_id=order_id)`; never an f-string, nor a
    secret."""
    return cast("FilteringBoundLogger", structlog.get_logger())


def annotate(**fields: object) -> None:
    """Adds fields to the canonical line of the running rpc; does nothing outside of one.

    Values are numbers, states and names that JSON can hold; the last value of a name wins.
    """
    scope = scope_or_none()
    if scope is not None and scope.record is not None:
        scope.record.fields.update(fields)


def write_canonical_line(fields: dict[str, object], *, failed: bool) -> None:
    """Writes the one line that stays of a call, at level error when the server failed and info otherwise."""
    logger = get_logger()
    (logger.error if failed else logger.info)("rpc", **fields)


def _scope_adder(service_name: str) -> Processor:
    def add_scope(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service_name
        scope = scope_or_none()
        if scope is not None:
            event["trace_id"] = scope.trace.trace_id
            record_business_id = scope.record.business_id if scope.record is not None else ""
            event["business_id"] = record_business_id or scope.platform.business_id
        return event

    return add_scope


def _to_json(event: object, default: Callable[[Any], Any], **_options: object) -> str:
    return json.dumps(event, default=default, ensure_ascii=False, separators=(",", ":"))


def _adopt_library_logs(threshold: int, chain: list[Processor], renderer: Processor) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))

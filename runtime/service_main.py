"""Runs one server as a process: settings, logs, telemetry, event loop, exit code. Invariant: a person who
starts it wrongly gets one clear sentence, never a stack."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import uvloop
from pydantic import ValidationError

from runtime.errors import PaycenterError
from runtime.grpc_server import GrpcServer
from runtime.logs import setup_logging
from runtime.settings import RuntimeSettings
from runtime.startup import StartupError
from runtime.telemetry import setup_telemetry, shutdown_telemetry

EXIT_OK = 0
EXIT_CANNOT_START = 1
EXIT_SETTINGS_INVALID = 2
TELEMETRY_FLUSH_SECONDS = 3.0

SettingsT = TypeVar("SettingsT", bound=RuntimeSettings)


def run_service(
    service_name: str,
    settings_class: type[SettingsT],
    build: Callable[[SettingsT, AsyncExitStack], Awaitable[GrpcServer]],
) -> int:
    """Builds and serves one service until a signal; returns the exit code for `sys.exit`.

    `build` opens what the server needs and leaves its closing to the stack, which unwinds after the drain.
    Exit codes: 0 stopped by a signal, 1 cannot start (port taken, database unreachable), 2 a setting is
    invalid.
    """
    try:
        settings = settings_class()
    except ValidationError as error:
        _tell(f"{service_name}: {_describe(settings_class, error)}")
        return EXIT_SETTINGS_INVALID
    setup_logging(service_name, level=settings.log_level)
    setup_telemetry(service_name, settings)
    try:
        uvloop.run(_serve(settings, build))
    except StartupError as error:
        _tell(str(error))
        return EXIT_CANNOT_START
    except PaycenterError as error:
        _tell(f"{service_name} cannot start: {error.message} ({error.reason.value})")
        return EXIT_CANNOT_START
    return EXIT_OK


async def _serve(
    settings: SettingsT, build: Callable[[SettingsT, AsyncExitStack], Awaitable[GrpcServer]]
) -> None:
    try:
        async with AsyncExitStack() as resources:
            server = await build(settings, resources)
            await server.serve_until_signal()
    finally:
        await shutdown_telemetry(TELEMETRY_FLUSH_SECONDS)


def _describe(settings_class: type[RuntimeSettings], error: ValidationError) -> str:
    prefix = settings_class.model_config.get("env_prefix", "")
    faults = [
        f"{prefix}{'_'.join(str(part) for part in fault['loc'])}".upper() + f": {fault['msg']}"
        for fault in error.errors(include_input=False)
    ]
    return "invalid setting: " + "; ".join(faults)


def _tell(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()

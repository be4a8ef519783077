"""Starts the sandbox alone: python -m channel_gateway.sandbox.

Invariant: a second start on the same data directory or port ends with a message and exit code 1.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from channel_gateway.sandbox.app import build_app
from channel_gateway.sandbox.settings import SandboxSettings, settings_from_environment
from channel_gateway.sandbox.transport import SandboxProtocol


class StartError(Exception):
    """Raised when the sandbox cannot start; the message is for the operator."""


def main() -> int:
    """Serves until SIGINT or SIGTERM and returns the exit code."""
    os.umask(0o077)
    try:
        settings = settings_from_environment()
        logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        lock = _lock(settings.state_directory)
        listener = _listen(settings)
    except (ValueError, StartError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    config = uvicorn.Config(
        build_app(settings),
        loop="uvloop",
        http=SandboxProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    print(f"sandbox listens on {settings.public_url}", flush=True)
    # uvicorn raises the signal that ended it once more when it has shut down; by then it has been obeyed.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    uvicorn.Server(config).run(sockets=[listener])
    os.close(lock)
    return 0


def _lock(directory: Path) -> int:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StartError(f"another sandbox runs on {directory}") from error
    return descriptor


def _listen(settings: SandboxSettings) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error
    return listener


if __name__ == "__main__":
    sys.exit(main())

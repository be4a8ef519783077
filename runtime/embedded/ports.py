"""Ports on the loopback address, remembered per data directory.

Invariant: while a book is open, no other book on this machine hands out one of its ports, whether or not a
server is listening on it just then.

Ports lie below the range that the kernel gives to outgoing connections; else such a connection could take the
port of a server that is being restarted. A port is claimed by a socket in Linux's abstract name space: the
claim is seen by every user and clone in the same network, and the kernel drops it with the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from runtime.embedded.errors import EmbeddedError
from runtime.embedded.files import write_private

LOOPBACK = "127.0.0.1"
_LOWEST_PORT = 15000
_EPHEMERAL_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class PortBook:
    """Names to ports for one data directory; what was handed out once is handed out again if it is free."""

    def __init__(self, file: Path, *, fixed: Mapping[str, int] | None = None) -> None:
        self._file = file
        self._fixed = dict(fixed or {})
        self._claims: dict[str, tuple[int, socket.socket | None]] = {}

    def claim(self, name: str) -> int:
        """The port of this name, free to listen on; the same for as long as the book is open.

        Raises EmbeddedError when a fixed port is taken, or no port is free.
        """
        if name in self._claims:
            return self._claims[name][0]
        if name in self._fixed:
            port = self._fixed[name]
            if not self._take(name, port):
                raise EmbeddedError(
                    f"port {port}, chosen for {name}, is in use on {LOOPBACK}; choose another one"
                )
        else:
            port = self._choose(name)
        remembered = self._remembered()
        if remembered.get(name) != port:
            write_private(self._file, json.dumps(remembered | {name: port}, indent=2) + "\n")
        return port

    def close(self) -> None:
        """Give the claims back; the numbers stay remembered. Idempotent."""
        for _, claim in self._claims.values():
            if claim is not None:
                claim.close()
        self._claims.clear()

    def _choose(self, name: str) -> int:
        for port in self._candidates(name):
            if self._take(name, port):
                return port
        raise EmbeddedError(f"no port is free on {LOOPBACK} for {name}")

    def _candidates(self, name: str) -> Iterator[int]:
        remembered = self._remembered()
        if name in remembered:
            yield remembered[name]
        taken = set(remembered.values())
        highest = _highest_port()
        seed = hashlib.sha256(f"{self._file.absolute()}".encode()).digest()
        start = int.from_bytes(seed[:4], "big")
        for step in range(highest - _LOWEST_PORT):
            port = _LOWEST_PORT + (start + step) % (highest - _LOWEST_PORT)
            if port not in taken:
                yield port

    def _take(self, name: str, port: int) -> bool:
        claim: socket.socket | None = None
        if sys.platform == "linux":
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0paycenter-port-{port}")
            except OSError:
                claim.close()
                return False
        if not can_listen(port):
            if claim is not None:
                claim.close()
            return False
        self._claims[name] = (port, claim)
        return True

    def _remembered(self) -> dict[str, int]:
        with contextlib.suppress(FileNotFoundError, ValueError, AttributeError):
            return {str(name): int(port) for name, port in json.loads(self._file.read_text()).items()}
        return {}


def can_listen(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _highest_port() -> int:
    with contextlib.suppress(OSError, ValueError):
        lowest_ephemeral = int(_EPHEMERAL_RANGE_FILE.read_text().split()[0])
        if lowest_ephemeral >= _LOWEST_PORT + 2000:
            return min(lowest_ephemeral, 49152)
    return 32768

"""A small business system: takes the center's signed callbacks over HTTP. Invariant: what is recorded was verified."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from paycenter_client import Callback, CallbackInvalid, read_callback

from clients.cli.failure import CommandFailed

CALLBACK_PATH = "/paycenter/callback"
_LARGEST_BODY_BYTES = 1024 * 1024
_TAKEN, _REFUSED = 200, 401


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Passes over a connection that the center's server took with it; the callback comes again."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class BusinessSystem:
    """Listens on a loopback port of its own; use it with `with`.

    Args:
        public_key: The center's key, which signs callbacks.
    """

    def __init__(self, public_key: Ed25519PublicKey) -> None:
        self._public_key = public_key
        self._lock = threading.Lock()
        self._by_notification: dict[str, Callback] = {}
        self._counts: Counter[str] = Counter()
        self._server = _Listener(("127.0.0.1", 0), _handler_of(self._take))
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="business-system", daemon=True
        )

    @property
    def callback_url(self) -> str:
        """Where the center is to send callbacks."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{CALLBACK_PATH}"

    @property
    def verified_count(self) -> int:
        """Callbacks that were genuine, repeats not counted."""
        with self._lock:
            return len(self._by_notification)

    @property
    def refused_count(self) -> int:
        """Callbacks whose signature did not hold."""
        with self._lock:
            return self._counts["refused"]

    def callbacks_of(self, order_id: str) -> list[Callback]:
        """What was told of one order, in the order of arrival."""
        with self._lock:
            return [each for each in self._by_notification.values() if each.order.order_id == order_id]

    def __enter__(self) -> BusinessSystem:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, headers: dict[str, str], body: bytes) -> int:
        try:
            callback = read_callback(headers, body, self._public_key)
        except CallbackInvalid:
            with self._lock:
                self._counts["refused"] += 1
            return _REFUSED
        with self._lock:
            self._by_notification.setdefault(callback.notification_id, callback)
        return _TAKEN


def load_callback_key(file: Path) -> Ed25519PublicKey:
    """Reads the center's public key for callbacks. Raises CommandFailed when it is not there or not Ed25519."""
    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError) as error:
        raise CommandFailed(f"the center's callback key {file} cannot be read: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise CommandFailed(f"the center's callback key {file} is not an Ed25519 key")
    return key


def _handler_of(take: Callable[[dict[str, str], bytes], int]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_POST(self) -> None:
            """Takes one callback."""
            length = int(self.headers.get("content-length") or 0)
            known = self.path == CALLBACK_PATH and 0 < length <= _LARGEST_BODY_BYTES
            if known:
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = take(headers, self.rfile.read(length))
            else:
                status, self.close_connection = 404, True
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server gives
            """Says nothing: the terminal belongs to the command."""

    return Handler

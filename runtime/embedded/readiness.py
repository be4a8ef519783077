"""Whether a part answers. Invariant: every check returns within about a second and never raises for a part
that is not there yet.
"""

from __future__ import annotations

import http.client
import socket

import grpc
import psycopg
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime.embedded.errors import EmbeddedError
from runtime.embedded.ports import LOOPBACK

_TIMEOUT_SECONDS = 1.0
_CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
_SERVER_ERROR = 500


def tcp_accepts(port: int) -> bool:
    """Whether something listens on this port."""
    try:
        socket.create_connection((LOOPBACK, port), _TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True


def grpc_serves(port: int) -> bool:
    """Whether the server answers SERVING to grpc.health.v1."""
    if not tcp_accepts(port):
        return False
    with grpc.insecure_channel(f"{LOOPBACK}:{port}", options=_CHANNEL_OPTIONS) as channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_SECONDS)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def http_answers(port: int, path: str = "/") -> bool:
    """Whether an HTTP server answers with anything but a 5xx; a 404 counts, since it speaks HTTP."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < _SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def nats_answers(port: int) -> bool:
    """Whether a NATS server with JetStream greets."""
    try:
        with socket.create_connection((LOOPBACK, port), _TIMEOUT_SECONDS) as connection:
            greeting = connection.recv(4096)
    except OSError:
        return False
    return greeting.startswith(b"INFO") and b'"jetstream":true' in greeting.replace(b" ", b"")


def postgres_answers(connection_url: str) -> bool:
    """Whether PostgreSQL takes a connection and answers a query; raises EmbeddedError on a wrong password."""
    try:
        with psycopg.connect(connection_url, connect_timeout=2, autocommit=True) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise EmbeddedError(
                "PostgreSQL's data was made with other passwords than keys/passwords.json holds; "
                "put the file back, or start with another data directory"
            ) from error
        return False
    return True

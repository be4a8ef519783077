"""Figures of every rpc for Prometheus: rate, errors and duration by method and code, and calls in flight.
Invariant: labels come from the contract (method, code) and never from a request."""

from __future__ import annotations

from functools import cache

from prometheus_client import Gauge, Histogram, start_http_server

from runtime.startup import StartupError

RPC_DURATION_BUCKETS_SECONDS = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
)

_server_duration = Histogram(
    "rpc_server_call_duration_seconds",
    "Time from the arrival of a call to its outcome, work that outlived its caller included.",
    ("method", "code"),
    buckets=RPC_DURATION_BUCKETS_SECONDS,
)
_server_in_flight = Gauge(
    "rpc_server_calls_in_flight", "Calls that are being carried out at this moment.", ("method",)
)
_client_duration = Histogram(
    "rpc_client_call_duration_seconds",
    "Time that a call to a service below took, its transport retries included.",
    ("method", "code"),
    buckets=RPC_DURATION_BUCKETS_SECONDS,
)


class CallsInFlight:
    """A plain count, which the gauge reads when it is asked: a call pays no lock for it."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


@cache
def server_duration(method: str, code: str) -> Histogram:
    """Returns the histogram of one method and code; the label lookup is paid once."""
    return _server_duration.labels(method, code)


@cache
def server_in_flight(method: str) -> CallsInFlight:
    """Returns the count of calls of one method that are being carried out."""
    calls = CallsInFlight()
    _server_in_flight.labels(method).set_function(lambda: calls.count)
    return calls


@cache
def client_duration(method: str, code: str) -> Histogram:
    """Returns the histogram of calls to one method of a service below."""
    return _client_duration.labels(method, code)


def start_metrics_server(*, host: str, port: int) -> None:
    """Serves the Prometheus page on `host:port`; raises StartupError when the port is taken. Port 0 means
    none."""
    if port == 0:
        return
    try:
        start_http_server(port, addr=host)
    except OSError as error:
        raise StartupError(
            f"cannot serve metrics on {host}:{port}: {error.strerror or 'address not usable'}"
        ) from None

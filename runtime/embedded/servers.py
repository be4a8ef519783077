"""The table of what a center runs besides its parts. Invariant: a server learns of others by its environment only."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runtime.embedded import readiness
from runtime.embedded.endpoints import Endpoints
from runtime.embedded.keys import Keys
from runtime.embedded.layout import Layout

TELEMETRY = "telemetry"
SANDBOX = "sandbox"
TRANSACTION = "transaction"
PAYMENT = "payment"
CHANNEL = "channel"
ACCOUNTING = "accounting"
NOTICE_PORT = "notice"
SERVICES = (TRANSACTION, PAYMENT, CHANNEL, ACCOUNTING)


def metrics_port_of(service: str) -> str:
    """The name under which the port of a service's metrics page is remembered."""
    return f"{service}_metrics"


PORT_NAMES = (
    TELEMETRY,
    SANDBOX,
    *SERVICES,
    NOTICE_PORT,
    *(metrics_port_of(service) for service in SERVICES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a server can be told about."""

    endpoints: Endpoints
    ports: Mapping[str, int]
    keys: Keys
    layout: Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpecification:
    """One server: `arguments` follow the interpreter; higher ranks are stopped sooner."""

    name: str
    arguments: tuple[str, ...]
    rank: int
    ready: Callable[[Mapping[str, int]], bool]
    environment: Callable[[Surroundings], Mapping[str, str]]
    death_signal: signal.Signals = signal.SIGTERM


def center_servers() -> tuple[ServerSpecification, ...]:
    """The servers of a center in the order in which they are started.

    The telemetry receiver is given its port and file as arguments by the stack.
    """
    return (
        ServerSpecification(
            name=TELEMETRY,
            arguments=("-m", "runtime.embedded.telemetry_receiver"),
            rank=2,
            ready=lambda ports: readiness.grpc_serves(ports[TELEMETRY]),
            environment=lambda _surroundings: {},
        ),
        ServerSpecification(
            name=SANDBOX,
            arguments=("-m", "channel_gateway.sandbox"),
            rank=3,
            ready=lambda ports: readiness.http_answers(ports[SANDBOX]),
            environment=_sandbox_environment,
        ),
        ServerSpecification(
            name=ACCOUNTING,
            arguments=("-m", "accounting"),
            rank=4,
            ready=lambda ports: readiness.grpc_serves(ports[ACCOUNTING]),
            environment=lambda surroundings: _service_environment(ACCOUNTING, surroundings),
        ),
        ServerSpecification(
            name=CHANNEL,
            arguments=("-m", "channel_gateway"),
            rank=4,
            ready=lambda ports: (
                readiness.grpc_serves(ports[CHANNEL]) and readiness.http_answers(ports[NOTICE_PORT])
            ),
            environment=_channel_environment,
        ),
        ServerSpecification(
            name=PAYMENT,
            arguments=("-m", "core.payment"),
            rank=5,
            ready=lambda ports: readiness.grpc_serves(ports[PAYMENT]),
            environment=_payment_environment,
        ),
        ServerSpecification(
            name=TRANSACTION,
            arguments=("-m", "core.transaction"),
            rank=6,
            ready=lambda ports: readiness.grpc_serves(ports[TRANSACTION]),
            environment=_transaction_environment,
        ),
    )


def _service_environment(service: str, surroundings: Surroundings) -> dict[str, str]:
    endpoints = surroundings.endpoints
    return {
        "PAYCENTER_PORT": str(surroundings.ports[service]),
        "PAYCENTER_METRICS_PORT": str(surroundings.ports[metrics_port_of(service)]),
        "PAYCENTER_DATABASE_URL": endpoints.database_urls[service],
        "PAYCENTER_MIGRATE_ON_START": "true",
        "PAYCENTER_NATS_URL": endpoints.nats_url,
        "PAYCENTER_TELEMETRY_OTLP_ENDPOINT": endpoints.telemetry_otlp_endpoint,
    }


def _transaction_environment(surroundings: Surroundings) -> dict[str, str]:
    return _service_environment(TRANSACTION, surroundings) | {
        "PAYCENTER_PAYMENT_TARGET": surroundings.endpoints.payment_target,
        "PAYCENTER_CALLBACK_SIGNING_KEY_FILE": str(surroundings.keys.callback_signing_key_file),
    }


def _payment_environment(surroundings: Surroundings) -> dict[str, str]:
    return _service_environment(PAYMENT, surroundings) | {
        "PAYCENTER_CHANNEL_TARGET": surroundings.endpoints.channel_target,
        "PAYCENTER_ACCOUNTING_TARGET": surroundings.endpoints.accounting_target,
    }


def _channel_environment(surroundings: Surroundings) -> dict[str, str]:
    return _service_environment(CHANNEL, surroundings) | {
        "PAYCENTER_NOTICE_PORT": str(surroundings.ports[NOTICE_PORT]),
        "PAYCENTER_NOTICE_BASE_URL": surroundings.endpoints.notice_base_url,
        "PAYCENTER_KEY_ENCRYPTION_KEY": surroundings.keys.key_encryption_key(),
    }


def _sandbox_environment(surroundings: Surroundings) -> dict[str, str]:
    return {
        "PAYCENTER_SANDBOX_PORT": str(surroundings.ports[SANDBOX]),
        "PAYCENTER_SANDBOX_BASE_URL": surroundings.endpoints.sandbox_base_url,
    }

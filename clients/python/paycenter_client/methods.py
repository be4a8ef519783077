"""What the contract says of each method: whether it may be repeated, and how long it may take."""

from __future__ import annotations

import json
from dataclasses import dataclass

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from paycenter.accounting.v1 import accounting_pb2
from paycenter.channel.v1 import channel_gateway_pb2
from paycenter.options.v1 import options_pb2
from paycenter.payment.v1 import payment_core_pb2
from paycenter.transaction.v1 import transaction_core_pb2

READ_DEADLINE_SECONDS = 2.0
WRITE_DEADLINE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class MethodRules:
    """Rules of one method: whether it only reads, whether it streams, and its deadline in seconds."""

    reads_only: bool
    streams: bool
    deadline_seconds: float


def _rules_of(file: FileDescriptor) -> dict[str, MethodRules]:
    rules = {}
    for service in file.services_by_name.values():
        for method in service.methods:
            options = method.GetOptions()
            reads_only = options.idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
            cap = options.Extensions[options_pb2.deadline_cap_seconds]
            default = READ_DEADLINE_SECONDS if reads_only else WRITE_DEADLINE_SECONDS
            rules[f"/{service.full_name}/{method.name}"] = MethodRules(
                reads_only=reads_only,
                streams=method.server_streaming or method.client_streaming,
                deadline_seconds=float(cap or default),
            )
    return rules


METHOD_RULES: dict[str, MethodRules] = {
    path: rules
    for module in (transaction_core_pb2, payment_core_pb2, channel_gateway_pb2, accounting_pb2)
    for path, rules in _rules_of(module.DESCRIPTOR).items()
}


def service_config(service_full_name: str) -> str:
    """Gives the gRPC service config of one service: UNAVAILABLE is retried, as every method is idempotent."""
    return json.dumps(
        {
            "methodConfig": [
                {
                    "name": [{"service": service_full_name}],
                    "retryPolicy": {
                        "maxAttempts": 4,
                        "initialBackoff": "0.05s",
                        "maxBackoff": "1s",
                        "backoffMultiplier": 2,
                        "retryableStatusCodes": ["UNAVAILABLE"],
                    },
                }
            ],
            "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
        }
    )


def channel_options(service_full_name: str) -> list[tuple[str, str | int]]:
    """Gives the gRPC channel options that both clients use."""
    return [
        ("grpc.service_config", service_config(service_full_name)),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # A server that comes back is found within two seconds, however long it was away.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ]

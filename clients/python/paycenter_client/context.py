"""Who calls, where the servers are and what goes along with each call.

Nothing here changes what a money movement results in: context travels as metadata only.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass

from paycenter.context.v1 import platform_context_pb2

CONTEXT_KEY = "x-platform-context-bin"
TRACEPARENT_KEY = "traceparent"


@dataclass(frozen=True, slots=True)
class Targets:
    """Addresses of the servers, each `host:port` or any gRPC target; None for those that are not called."""

    transaction: str | None = None
    payment: str | None = None
    channel: str | None = None
    accounting: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls; request ids are unique per caller service and method.

    Attributes:
        service: Name of the calling service.
        tenant_id: Tenant whose records the calls touch.
        business_line: Line of business, for example `fee-collection`.
        operator: Person behind the calls; opaque, no personal data.
        locale: BCP 47 language tag of texts that reach people.
        origin: Channel through which the business case began, for example `app`.
        shadow: True for rehearsal traffic.
    """

    service: str
    tenant_id: str
    business_line: str = ""
    operator: str = ""
    locale: str = ""
    origin: str = ""
    shadow: bool = False

    def metadata_value(self, business_id: str = "") -> bytes:
        """Serializes the platform context of one call."""
        return platform_context_pb2.PlatformContext(
            business_line=self.business_line,
            business_id=business_id,
            caller_service=self.service,
            tenant_id=self.tenant_id,
            operator=self.operator,
            locale=self.locale,
            origin=self.origin,
            shadow=self.shadow,
        ).SerializeToString()


def new_request_id() -> str:
    """Gives a UUID for one command; keep it before the call, and repeat the call with the same one."""
    return str(uuid.uuid4())


def new_traceparent(*, sampled: bool = True) -> str:
    """Begins a W3C trace; a business system that traces by itself passes its own `traceparent` instead."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{'01' if sampled else '00'}"

"""Who and which trace made a row. Invariant: taken from the running scope, so that no statement can forget
it."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.context import current_scope, encode_platform


@dataclass(frozen=True, slots=True)
class Origin:
    """The business identifier, trace and platform context that a row carries."""

    business_id: str
    traceparent: str
    platform: bytes

    def values(self) -> dict[str, object]:
        """Returns the columns."""
        return {
            "business_id": self.business_id,
            "traceparent": self.traceparent,
            "platform": self.platform,
        }


def origin_of_scope(default_business_id: str) -> Origin:
    """Returns the running scope's origin; a scope without business identifier gets the record's own number."""
    scope = current_scope()
    return Origin(
        business_id=scope.platform.business_id or default_business_id,
        traceparent=scope.trace.format(),
        platform=encode_platform(scope.platform),
    )

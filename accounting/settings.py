"""Settings of the accounting server. Invariant: every field has a description and a default that works."""

from __future__ import annotations

from pydantic import Field

from runtime.settings import RuntimeSettings


class AccountingSettings(RuntimeSettings):
    """What the accounting server reads from its environment."""

    accounting_time_zone: str = Field(
        default="Asia/Shanghai", description="Time zone whose civil day is the accounting date."
    )
    posting_rule_refresh_seconds: float = Field(
        default=5.0, gt=0, description="How often the posting rules in force are read again."
    )
    hold_expiry_interval_seconds: float = Field(
        default=1.0, gt=0, description="How often holds whose time has passed are looked for."
    )

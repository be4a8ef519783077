"""How payers, banks and payees behave by themselves: settings that the admin API changes at any time.

Invariant: a change survives a restart and touches only what happens after it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from channel_gateway.sandbox.records import Stored


@dataclass(slots=True)
class Behaviour(Stored):
    """What happens without anybody's click.

    auto_pay: the payer of every new trade pays after auto_pay_delay_seconds.
    auto_refund_seconds: WeChat Pay finishes a refund after it; None leaves refunds open on both channels.
    auto_transfer: payees accept transfers, on WeChat Pay after auto_transfer_seconds.
    notice_retry_scale: factor on the channels' real retry schedules.
    notice_timeout_seconds: how long a notice waits for its answer.
    """

    auto_pay: bool = False
    auto_pay_delay_seconds: float = 0.05
    auto_refund_seconds: float | None = 0.2
    auto_transfer: bool = True
    auto_transfer_seconds: float = 0.2
    notice_retry_scale: float = 1.0
    notice_timeout_seconds: float = 5.0

    @property
    def key(self) -> str:
        """There is one behaviour."""
        return "behaviour"

    def change(self, body: dict[str, Any]) -> None:
        """Applies the named settings, all or none; raises ValueError for an unknown name or a wrong type."""
        known = {each.name for each in fields(self)}
        for name, value in body.items():
            if name not in known:
                raise ValueError(f"unknown setting {name!r}; known: {', '.join(sorted(known))}")
            if name in ("auto_pay", "auto_transfer"):
                if not isinstance(value, bool):
                    raise ValueError(f"{name} must be true or false")
            elif value is None and name == "auto_refund_seconds":
                continue
            elif isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(f"{name} must be a number that is not negative")
        for name, value in body.items():
            setattr(self, name, value)

"""What the gateway reads from its environment besides what every server reads. Invariant: the key encryption
key is never printed."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, SecretStr, field_validator

from channel_gateway.domain.schedule import Schedule
from channel_gateway.secret_box import KEY_BYTES
from runtime.settings import RuntimeSettings

Seconds = tuple[float, ...]


class ChannelGatewaySettings(RuntimeSettings):
    """Settings of the ChannelGateway server."""

    notice_host: str = Field(
        default="127.0.0.1", description="Address that the listener for channels' notices binds."
    )
    notice_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="HTTP port for channels' notices; 0 lets the system choose one.",
    )
    notice_base_url: str = Field(
        default="",
        description="Public address under which channels reach the notice listener, without a slash at the end; "
        "empty means the listener's own address.",
    )
    key_encryption_key: SecretStr = Field(
        description="32 bytes in hexadecimal that seal the data keys of payment accounts."
    )
    channel_call_timeout_seconds: float = Field(
        default=10.0, gt=0, le=60, description="Longest wait for one answer of a channel."
    )
    channel_connect_timeout_seconds: float = Field(
        default=3.0, gt=0, le=30, description="Longest wait for a connection to a channel."
    )
    channel_pool_size: int = Field(
        default=64, ge=1, le=1000, description="Most connections to a channel for one payment account."
    )
    channel_send_attempts: int = Field(
        default=3, ge=1, le=5, description="Tries of one request that provably did not reach the channel."
    )
    account_cache_seconds: float = Field(
        default=2.0,
        ge=0,
        le=60,
        description="How long payment accounts and switches are used before they are read again.",
    )
    account_cache_size: int = Field(
        default=2000, ge=1, description="Most payment accounts that are kept open at once."
    )
    unknown_query_schedule_seconds: Seconds = Field(
        default=(5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600),
        min_length=1,
        description="Waits between queries about an unknown outcome; after the last one a person is called and the "
        "last wait repeats.",
    )
    working_query_schedule_seconds: Seconds = Field(
        default=(10, 20, 60, 120, 300, 600, 1800, 3600),
        min_length=1,
        description="Waits between queries about a refund or payout that the channel works on.",
    )
    waiting_query_schedule_seconds: Seconds = Field(
        default=(60, 120, 300, 900, 1800, 3600),
        min_length=1,
        description="Waits between queries about a payment that waits for its payer.",
    )
    not_found_proof_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Overrides every channel's interval after which its `not found` is proof; 0 keeps their own.",
    )
    repair_idle_seconds: float = Field(
        default=1.0, gt=0, description="Wait of the repair worker when it found nothing to do."
    )
    repair_batch_size: int = Field(
        default=16, ge=1, le=500, description="Channel orders that the repair worker takes up at once."
    )

    @field_validator("key_encryption_key")
    @classmethod
    def _check_key(cls, value: SecretStr) -> SecretStr:
        try:
            key = bytes.fromhex(value.get_secret_value())
        except ValueError:
            raise ValueError("must be hexadecimal") from None
        if len(key) != KEY_BYTES:
            raise ValueError(f"must have {KEY_BYTES} bytes ({2 * KEY_BYTES} hexadecimal digits)")
        return value

    @property
    def step_lease(self) -> timedelta:
        """Time after which a step that nobody finished is taken up by a repair worker."""
        return timedelta(seconds=self.channel_call_timeout_seconds * self.channel_send_attempts + 5)

    def schedule(self) -> Schedule:
        """Returns when channel orders are looked at again."""
        return Schedule(
            unknown=self.unknown_query_schedule_seconds,
            working=self.working_query_schedule_seconds,
            waiting=self.waiting_query_schedule_seconds,
        )

"""The channel's own clock and the ways in which the two channels write an instant.

Invariant: instants are kept as milliseconds since the epoch and written in Beijing time.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))


def now_milliseconds() -> int:
    """Returns the present instant in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def beijing_text(milliseconds: int) -> str:
    """Writes an instant as Alipay does: 2026-11-21 14:03:09, Beijing time."""
    return datetime.fromtimestamp(milliseconds / 1000, BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def beijing_compact(milliseconds: int) -> str:
    """Writes an instant as channel numbers carry it: 20261121140309, Beijing time."""
    return datetime.fromtimestamp(milliseconds / 1000, BEIJING).strftime("%Y%m%d%H%M%S")


def rfc3339_text(milliseconds: int) -> str:
    """Writes an instant as WeChat Pay does: 2026-11-21T14:03:09+08:00."""
    return datetime.fromtimestamp(milliseconds / 1000, BEIJING).isoformat(timespec="seconds")


def parse_beijing(text: str) -> int:
    """Reads Alipay's form of an instant; raises ValueError when it has another form."""
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=BEIJING).timestamp() * 1000)


def parse_rfc3339(text: str) -> int:
    """Reads WeChat Pay's form of an instant; raises ValueError when it has no zone or another form."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("an instant needs a zone")
    return int(instant.timestamp() * 1000)

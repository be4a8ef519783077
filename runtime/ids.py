"""Serial numbers and request ids, made without a database trip. Invariant: a number is unique across
processes, sorts by the millisecond it was made in, and tells its kind and shard by itself."""

from __future__ import annotations

import os
import re
import struct
import time
import uuid
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Final

SHARD_COUNT: Final = 256
"""Number of shards; part of every stored number, so it never changes."""

NUMBER_LENGTH: Final = 24
"""Characters of a number: kind, 10 of time, 10 of chance, 3 of shard (WeChat Pay allows 32)."""

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_SHARD_DIGITS: Final = tuple(f"{shard:03d}" for shard in range(SHARD_COUNT))
_REQUEST_NAMESPACE: Final = uuid.UUID("8f0c6f3e-3b6d-5c52-9a5e-6f1f0f4f7c11")
_WORDS_PER_REFILL: Final = 512


class NumberKind(StrEnum):
    """What a number names; the value is its first letter."""

    ORDER = "O"
    ATTEMPT = "A"
    PAYMENT = "P"
    CHANNEL_ORDER = "C"
    REFUND = "R"
    JOURNAL = "J"
    NOTIFICATION = "N"
    NOTICE = "I"
    MERCHANT = "M"
    PAYMENT_ACCOUNT = "K"
    HOLD = "H"
    ACCOUNT = "L"
    EVENT = "E"


_NUMBER = re.compile(f"[{''.join(NumberKind)}][{_ALPHABET}]{{20}}(?:[01][0-9]{{2}}|2[0-4][0-9]|25[0-5])")

_random_words: list[int] = []


def _random_word() -> int:
    """Returns 64 unpredictable bits of the system, fetched in blocks: a system call per number would cost
    more."""
    while True:
        try:
            return _random_words.pop()
        except IndexError:
            _random_words.extend(struct.unpack(f"{_WORDS_PER_REFILL}Q", os.urandom(8 * _WORDS_PER_REFILL)))


os.register_at_fork(after_in_child=_random_words.clear)


def new_number(kind: NumberKind, *, shard: int) -> str:
    """Makes a number: kind letter, 10 characters of time (milliseconds), 10 of chance (50 bits), 3 digits
    of shard.

    Time and chance are Crockford base 32, so that numbers sort by time. Raises ValueError when `shard` is
    not in 0 .. SHARD_COUNT - 1. Two calls never give the same number.
    """
    if not 0 <= shard < SHARD_COUNT:
        raise ValueError(f"A shard is in 0 .. {SHARD_COUNT - 1}.")
    pairs = _PAIRS
    milliseconds = time.time_ns() // 1_000_000
    chance = _random_word()
    return (
        f"{kind._value_}"
        f"{pairs[milliseconds >> 40 & 1023]}{pairs[milliseconds >> 30 & 1023]}{pairs[milliseconds >> 20 & 1023]}"
        f"{pairs[milliseconds >> 10 & 1023]}{pairs[milliseconds & 1023]}"
        f"{pairs[chance >> 40 & 1023]}{pairs[chance >> 30 & 1023]}{pairs[chance >> 20 & 1023]}"
        f"{pairs[chance >> 10 & 1023]}{pairs[chance & 1023]}"
        f"{_SHARD_DIGITS[shard]}"
    )


def _require_number(number: str) -> None:
    if _NUMBER.fullmatch(number) is None:
        raise ValueError("The number is malformed.")


def shard_of_number(number: str) -> int:
    """Returns the shard that `number` carries; raises ValueError when it is no number of this center."""
    _require_number(number)
    return int(number[-3:])


def number_kind(number: str) -> NumberKind:
    """Returns what `number` names; raises ValueError when it is no number of this center."""
    _require_number(number)
    return NumberKind(number[0])


@lru_cache(maxsize=16384)
def shard_of_owner(owner_id: str) -> int:
    """Returns the shard of everything that belongs to `owner_id`; the same in every process and release."""
    return int.from_bytes(sha256(owner_id.encode()).digest()[:8]) % SHARD_COUNT


def derive_request_id(*parts: str) -> str:
    """Returns the request id of a step that `parts` name (for example payment id and step), always the same
    one.

    A UUID of version 5, so that repeating a step after a crash is the same request to the service below.
    Raises ValueError without parts. Idempotent.
    """
    if not parts:
        raise ValueError("A derived request id needs at least one part.")
    return str(uuid.uuid5(_REQUEST_NAMESPACE, "\x1f".join(f"{len(part)}:{part}" for part in parts)))


def new_request_id() -> str:
    """Returns a fresh request id: a UUID of version 7 (time-ordered, 74 random bits)."""
    milliseconds = time.time_ns() // 1_000_000
    low_word = _random_word() & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    high_word = milliseconds << 16 | 0x7000 | _random_word() & 0x0FFF
    digits = f"{high_word:016x}{low_word:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

"""How a transfer's amount is divided among its receivers. Invariant: the parts sum to the amount exactly; ratios are
rounded down and the remainder takes what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal, InvalidOperation

from core.payment.domain.payment import PostingLine
from runtime.errors import PaycenterError, Reason
from runtime.money import Money

_RATIO_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class FixedShare:
    """A fixed amount."""

    amount: Money


@dataclass(frozen=True, slots=True)
class RatioShare:
    """A ratio of the whole as decimal text, above 0 and at most 1, with at most six decimals."""

    text: str


@dataclass(frozen=True, slots=True)
class RemainderShare:
    """What the others leave over."""


Share = FixedShare | RatioShare | RemainderShare


def divide(amount: Money, receivers: Sequence[tuple[str, Share]]) -> tuple[PostingLine, ...]:
    """Divides `amount` among receivers, given as (account, share); parts of zero are left out.

    Parts of one account are put together. Raises PaycenterError(FIELD_INVALID) when a share breaks its rule, when
    there is more than one remainder, or when the parts do not sum to the amount; CURRENCY_MISMATCH for a fixed share
    in another currency.
    """
    parts: list[int | None] = [
        _part_of(amount, share, field=f"receivers[{position}]")
        for position, (_, share) in enumerate(receivers)
    ]
    taken = sum(part for part in parts if part is not None)
    left = amount.minor_units - taken
    if parts.count(None) > 1:
        raise _invalid("receivers", "At most one receiver takes the remainder.")
    if left < 0 or (left > 0 and None not in parts):
        raise _invalid(
            "receivers",
            f"The shares come to {taken} minor units; the amount is {amount.minor_units}.",
            shares=taken,
            amount=amount.minor_units,
        )
    totals: dict[str, int] = {}
    for (account_id, _), part in zip(receivers, parts, strict=True):
        totals[account_id] = totals.get(account_id, 0) + (left if part is None else part)
    return tuple(
        PostingLine(account_id, minor_units) for account_id, minor_units in totals.items() if minor_units
    )


def _part_of(amount: Money, share: Share, *, field: str) -> int | None:
    match share:
        case FixedShare(amount=part):
            if part.currency_code != amount.currency_code:
                raise PaycenterError(
                    Reason.CURRENCY_MISMATCH,
                    "A fixed share is in the currency of the amount.",
                    field=f"{field}.amount.currency_code",
                    metadata={"expected": amount.currency_code, "actual": part.currency_code},
                )
            if part.minor_units <= 0:
                raise _invalid(f"{field}.amount.minor_units", "A fixed share is above zero.")
            return part.minor_units
        case RatioShare(text=text):
            ratio = _parse_ratio(text, field=f"{field}.ratio")
            return int((ratio * amount.minor_units).to_integral_value(rounding=ROUND_DOWN))
        case RemainderShare():
            return None


def _parse_ratio(text: str, *, field: str) -> Decimal:
    try:
        ratio = Decimal(text)
    except InvalidOperation:
        raise _invalid(field, "A ratio is a decimal number.") from None
    if not ratio.is_finite() or not 0 < ratio <= 1:
        raise _invalid(field, "A ratio is above 0 and at most 1.")
    if ratio != ratio.quantize(Decimal(1).scaleb(-_RATIO_DECIMALS), rounding=ROUND_DOWN):
        raise _invalid(field, "A ratio has at most six decimals.")
    return ratio


def _invalid(field: str, message: str, **metadata: int) -> PaycenterError:
    return PaycenterError(
        Reason.FIELD_INVALID,
        message,
        field=field,
        metadata={name: str(value) for name, value in metadata.items()},
    )

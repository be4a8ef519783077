"""How an order's money is divided. Invariant: parts are whole minor units above zero and sum to the whole exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from core.transaction.domain.records import Owner, Share
from runtime.errors import PaycenterError, Reason

RECEIVERS_FIELD = "split_purchase.receivers"
MOST_RATIO_DECIMALS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedShare:
    """What a split asks for one receiver: exactly one of a fixed amount, a ratio in decimal text or the remainder."""

    receiver: Owner
    fixed_minor_units: int | None = None
    fixed_currency_code: str = ""
    ratio: str | None = None
    remainder: bool = False


def divide(
    total_minor_units: int, *, currency_code: str, requested: Sequence[RequestedShare]
) -> tuple[Share, ...]:
    """Turns a split into exact amounts, in the order asked for.

    Fixed amounts are taken as they are; ratios are of the whole amount; the one remainder takes what is left over.
    Without a remainder the ratios' roundings go to the largest fractions (largest remainder), and everything must sum
    to the amount. Raises PaycenterError(FIELD_INVALID, CURRENCY_MISMATCH) naming the receiver.
    """
    _refuse_double_receivers(requested)
    exact = [
        _exact_part(index, share, total_minor_units, currency_code) for index, share in enumerate(requested)
    ]
    remainder_index = _remainder_index(requested)
    floors = [int(part) for part in exact]
    if remainder_index is None:
        if sum(exact) != total_minor_units:
            raise _invalid("The receivers' parts do not sum to the order's amount.", RECEIVERS_FIELD)
        _give_to_largest_fractions(floors, exact, total_minor_units - sum(floors))
    else:
        floors[remainder_index] = total_minor_units - sum(floors)
    for index, part in enumerate(floors):
        if part <= 0:
            raise _invalid("Every receiver's part must be above zero.", f"{RECEIVERS_FIELD}[{index}]")
    return tuple(
        Share(receiver=share.receiver, minor_units=part)
        for share, part in zip(requested, floors, strict=True)
    )


def proportional_parts(total_minor_units: int, weights: Sequence[int]) -> list[int]:
    """Divides a total in proportion to whole weights by largest remainder; parts may be zero, their sum is exact.

    Ties go to the earlier part, so that the same question always has the same answer.
    """
    whole = sum(weights)
    if whole <= 0:
        raise ValueError("the weights sum to nothing")
    exact = [Fraction(total_minor_units * weight, whole) for weight in weights]
    parts = [int(part) for part in exact]
    _give_to_largest_fractions(parts, exact, total_minor_units - sum(parts))
    return parts


def _give_to_largest_fractions(parts: list[int], exact: Sequence[Fraction], left_over: int) -> None:
    order = sorted(range(len(parts)), key=lambda index: (parts[index] - exact[index], index))
    for index in order[:left_over]:
        parts[index] += 1


def _exact_part(index: int, share: RequestedShare, total_minor_units: int, currency_code: str) -> Fraction:
    if share.fixed_minor_units is not None:
        if share.fixed_currency_code != currency_code:
            raise PaycenterError(
                Reason.CURRENCY_MISMATCH,
                "The part's currency differs from the order's.",
                field=f"{RECEIVERS_FIELD}[{index}].amount.currency_code",
                metadata={"expected": currency_code},
            )
        return Fraction(share.fixed_minor_units)
    if share.ratio is not None:
        return _ratio(index, share.ratio) * total_minor_units
    return Fraction(0)


def _ratio(index: int, text: str) -> Fraction:
    path = f"{RECEIVERS_FIELD}[{index}].ratio"
    try:
        ratio = Decimal(text)
    except InvalidOperation:
        raise _invalid("The ratio is not a decimal number.", path) from None
    exponent = ratio.as_tuple().exponent
    if not isinstance(exponent, int) or not 0 < ratio <= 1:
        raise _invalid("The ratio must be above 0 and at most 1.", path)
    if exponent < -MOST_RATIO_DECIMALS:
        raise _invalid(f"The ratio has more than {MOST_RATIO_DECIMALS} decimals.", path)
    return Fraction(ratio)


def _remainder_index(requested: Sequence[RequestedShare]) -> int | None:
    found = [index for index, share in enumerate(requested) if share.remainder]
    if len(found) > 1:
        raise _invalid(
            "Only one receiver may have the remainder.", f"{RECEIVERS_FIELD}[{found[1]}].remainder"
        )
    return found[0] if found else None


def _refuse_double_receivers(requested: Sequence[RequestedShare]) -> None:
    seen: set[Owner] = set()
    for index, share in enumerate(requested):
        if share.receiver in seen:
            raise _invalid("A receiver stands in the split twice.", f"{RECEIVERS_FIELD}[{index}].receiver")
        seen.add(share.receiver)


def _invalid(message: str, path: str) -> PaycenterError:
    return PaycenterError(Reason.FIELD_INVALID, message, field=path)

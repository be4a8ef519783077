"""Columns that hold a small structure as JSON. Invariant: what is written is read back equal (tested)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.transaction.domain.records import Instruction, Leg, Owner, Payee, Purpose, Refusal, Share
from core.transaction.domain.states import LegState
from runtime.errors import FieldViolation

Values = dict[str, Any]


def _owner_to_json(owner: Owner | None) -> Values | None:
    return None if owner is None else {"kind": owner.kind, "owner_id": owner.owner_id}


def _owner_from_json(value: Mapping[str, str] | None) -> Owner | None:
    return None if value is None else Owner(kind=value["kind"], owner_id=value["owner_id"])


def purpose_to_json(purpose: Purpose) -> Values:
    """Writes what an order is to do."""
    found: Values = {}
    for name in ("balance_owner", "source_owner", "destination_owner"):
        owner = _owner_to_json(getattr(purpose, name))
        if owner is not None:
            found[name] = owner
    if purpose.payee is not None:
        payee = purpose.payee
        found["payee"] = {
            "channel_payee_id": payee.channel_payee_id,
            "id_kind": payee.id_kind,
            "real_name": payee.real_name,
        }
    if purpose.shares:
        found["shares"] = [
            {"receiver": _owner_to_json(share.receiver), "minor_units": share.minor_units}
            for share in purpose.shares
        ]
    return found


def purpose_from_json(value: Mapping[str, Any]) -> Purpose:
    """Reads what an order is to do."""
    if not value:
        return _NO_PURPOSE
    payee = value.get("payee")
    return Purpose(
        balance_owner=_owner_from_json(value.get("balance_owner")),
        source_owner=_owner_from_json(value.get("source_owner")),
        destination_owner=_owner_from_json(value.get("destination_owner")),
        payee=Payee(**payee) if payee is not None else None,
        shares=tuple(
            Share(receiver=Owner(**share["receiver"]), minor_units=share["minor_units"])
            for share in value.get("shares", ())
        ),
    )


_NO_PURPOSE = Purpose()
_INSTRUCTION_FIELDS = (
    "payment_account_id",
    "invoke_method",
    "payer_user_id",
    "payer_channel_id",
    "payer_client_ip",
    "return_url",
    "authorization_code",
    "agreement_id",
)


def instruction_to_json(instruction: Instruction) -> Values:
    """Writes how the payer wants to pay, without what is empty."""
    return {name: value for name in _INSTRUCTION_FIELDS if (value := getattr(instruction, name))}


def leg_to_json(leg: Leg) -> Values:
    """Writes a leg of a refund."""
    return {
        "receiver": _owner_to_json(leg.receiver),
        "minor_units": leg.minor_units,
        "state": leg.state.value,
        "payment_id": leg.payment_id,
        "round_number": leg.round_number,
    }


def leg_from_json(value: Mapping[str, Any]) -> Leg:
    """Reads a leg of a refund."""
    return Leg(
        receiver=Owner(**value["receiver"]),
        minor_units=value["minor_units"],
        state=LegState(value["state"]),
        payment_id=value["payment_id"],
        round_number=value["round_number"],
    )


def refusal_to_json(refusal: Refusal | None) -> Values | None:
    """Writes a refusal of PaymentCore."""
    if refusal is None:
        return None
    return {
        "reason": refusal.reason,
        "message": refusal.message,
        "violations": [[v.field, v.description, v.rule] for v in refusal.violations],
        "metadata": dict(refusal.metadata),
    }


def refusal_from_json(value: Mapping[str, Any] | None) -> Refusal | None:
    """Reads a refusal of PaymentCore."""
    if value is None:
        return None
    return Refusal(
        reason=value["reason"],
        message=value["message"],
        violations=tuple(FieldViolation(*parts) for parts in value["violations"]),
        metadata=value["metadata"],
    )

"""What the business system hands to the payer's device. Invariant: exactly one form, and it survives being
stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class QrCode:
    """Text to draw as a QR code that the payer scans."""

    code_url: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """Page to which the payer's browser goes; `form_fields` are posted when the method is `POST`."""

    http_method: str
    url: str
    form_fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InAppCall:
    """Parameters of the channel SDK's payment call, by the channel's own names."""

    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NoAction:
    """Nothing is handed over: the channel acts by itself."""


Credential = QrCode | Redirect | InAppCall | NoAction


def credential_to_json(credential: Credential | None) -> dict[str, Any] | None:
    """Returns the form that is stored."""
    match credential:
        case None:
            return None
        case QrCode(code_url=code_url):
            return {"form": "qr_code", "code_url": code_url}
        case Redirect(http_method=http_method, url=url, form_fields=form_fields):
            return {
                "form": "redirect",
                "http_method": http_method,
                "url": url,
                "form_fields": dict(form_fields),
            }
        case InAppCall(parameters=parameters):
            return {"form": "in_app_call", "parameters": dict(parameters)}
        case NoAction():
            return {"form": "no_action"}


def credential_from_json(stored: Mapping[str, Any] | None) -> Credential | None:
    """Reads what `credential_to_json` wrote; raises ValueError for another form."""
    if stored is None:
        return None
    match stored["form"]:
        case "qr_code":
            return QrCode(code_url=stored["code_url"])
        case "redirect":
            return Redirect(
                http_method=stored["http_method"], url=stored["url"], form_fields=stored["form_fields"]
            )
        case "in_app_call":
            return InAppCall(parameters=stored["parameters"])
        case "no_action":
            return NoAction()
        case other:
            raise ValueError(f"unknown form of credential: {other}")

"""Settings come from `PAYCENTER_*`, and each is described for the operations page."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from runtime.settings import RuntimeSettings


def test_every_setting_is_described() -> None:
    undescribed = [name for name, field in RuntimeSettings.model_fields.items() if not field.description]
    assert undescribed == []


def test_a_setting_comes_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYCENTER_PORT", "5051")
    monkeypatch.setenv("PAYCENTER_TRACE_SAMPLE_RATIO", "0.01")

    settings = RuntimeSettings()

    assert (settings.port, settings.trace_sample_ratio, settings.host) == (5051, 0.01, "127.0.0.1")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PORT", "70000"), ("TRACE_SAMPLE_RATIO", "1.5"), ("LOG_LEVEL", "LOUD"), ("DATABASE_POOL_SIZE", "0")],
)
def test_a_value_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(f"PAYCENTER_{variable}", value)

    with pytest.raises(ValidationError):
        RuntimeSettings()

"""Where everything of a running center listens. Invariant: these addresses do not change while it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.embedded.errors import EmbeddedError
from runtime.embedded.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Addresses of one center; targets are `host:port`, the maps are by service name.

    The names are `transaction`, `payment`, `channel` and `accounting`. `database_urls` are those of each
    service's own role, `readonly_database_urls` those of the role that reads all four; both are SQLAlchemy's
    (`postgresql+psycopg://`) and hold a password.
    """

    transaction_target: str
    payment_target: str
    channel_target: str
    accounting_target: str
    notice_base_url: str
    sandbox_base_url: str
    nats_url: str
    telemetry_otlp_endpoint: str
    trace_file: Path
    callback_public_key_file: Path
    database_urls: Mapping[str, str]
    readonly_database_urls: Mapping[str, str]
    metrics_urls: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for the state file."""
        return {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Endpoints:
        """From what `to_json` made; raises KeyError when a field is missing."""
        paths = {name: Path(values[name]) for name in ("trace_file", "callback_public_key_file")}
        return cls(**{**values, **paths})


def load_endpoints(data_directory: Path) -> Endpoints:
    """The endpoints of the center that runs on this data directory; for commands in another terminal.

    Raises EmbeddedError when none runs there.
    """
    state_file = Layout.state_file_of(data_directory)
    try:
        values = json.loads(state_file.read_text())["endpoints"]
        if values is None:
            raise EmbeddedError(f"the center on {data_directory} is still being started")
        return Endpoints.from_json(values)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise EmbeddedError(f"no center runs on {data_directory}; start it with: paycenter up") from error
    except PermissionError as error:
        raise EmbeddedError(f"{state_file} belongs to another user") from error
    except (ValueError, KeyError, TypeError) as error:
        raise EmbeddedError(f"{state_file} is not the state of a center: {error}") from error

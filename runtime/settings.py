"""Settings that every server shares, read from `PAYCENTER_*` variables. Invariant: every field has a
description, from which the operations page is generated, and a default that works on one machine."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RuntimeSettings(BaseSettings):
    """What every server reads from its environment; a service adds its own fields in a subclass."""

    model_config = SettingsConfigDict(env_prefix="PAYCENTER_", frozen=True, extra="ignore")

    host: str = Field(default="127.0.0.1", description="Address that the gRPC and metrics ports bind.")
    port: int = Field(
        default=0, ge=0, le=65535, description="gRPC port; 0 lets the system choose a free one."
    )
    database_url: str = Field(
        default="", description="SQLAlchemy URL of the service's own database (`postgresql+psycopg://...`)."
    )
    database_pool_size: int = Field(
        default=10, ge=1, le=200, description="Most database connections that the server holds."
    )
    migrate_on_start: bool = Field(
        default=False,
        description="Whether the server brings its database to the newest schema before it serves; several may.",
    )
    nats_url: str = Field(default="", description="URL of the NATS server (`nats://host:port`).")
    telemetry_otlp_endpoint: str = Field(
        default="",
        description="Endpoint of an OTLP/gRPC collector (`http://host:port`); empty turns export off.",
    )
    trace_sample_ratio: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="Share of new traces that are recorded; a trace that arrives keeps its own decision.",
    )
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="Port of the Prometheus page; 0 turns it off."
    )
    drain_grace_seconds: float = Field(
        default=10.0,
        ge=0.0,
        le=300.0,
        description="Longest time that a stopping server waits for calls and background work to end.",
    )
    drain_announce_seconds: float = Field(
        default=0.0,
        ge=0.0,
        le=60.0,
        description="Time for which a stopping server says NOT_SERVING before it refuses calls.",
    )
    calls_limit: int = Field(
        default=1000,
        ge=1,
        description="Most unary calls carried out at the same time; more are refused as OVERLOADED.",
    )
    reflection_enabled: bool = Field(
        default=True, description="Whether the server describes its contract by gRPC reflection."
    )
    log_level: str = Field(
        default="INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="Least level that is logged: DEBUG, INFO, WARNING or ERROR.",
    )
    data_directory: Path = Field(
        default=Path(".paycenter"), description="Folder for what the embedded stack keeps on disk."
    )

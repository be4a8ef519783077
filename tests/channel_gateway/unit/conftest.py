"""Keys that unit tests of this folder share: making one takes a tenth of a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric import rsa


@pytest.fixture(scope="session")
def merchant_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def platform_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Runs what touches the network on the loop of the servers too."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

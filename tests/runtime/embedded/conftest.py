"""Folders for the embedded stack that leave nothing behind, wherever PostgreSQL's data had to be placed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.embedded import Parts
from tests.runtime.embedded.embedded_support import QUICK_POSTGRES


@pytest.fixture
def data_directory(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "center"
    yield directory
    if directory.exists():
        Parts(directory).remove()


@pytest.fixture(scope="module")
def running_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    parts = Parts(tmp_path_factory.mktemp("parts") / "center", postgres=QUICK_POSTGRES)
    parts.start()
    yield parts
    parts.remove()

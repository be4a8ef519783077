"""The vendored protos are the ones that the installed packages were generated from."""

import importlib
from pathlib import Path

import google.rpc
import pytest

from tools.contract import PROJECT_ROOT

THIRD_PARTY = PROJECT_ROOT / "protos" / "third_party"
GOOGLEAPIS = THIRD_PARTY / "googleapis"
VENDORED = sorted(path.relative_to(GOOGLEAPIS).as_posix() for path in GOOGLEAPIS.rglob("*.proto"))


def test_something_is_vendored() -> None:
    assert "google/rpc/error_details.proto" in VENDORED


@pytest.mark.parametrize("name", VENDORED)
def test_googleapis_file_equals_the_installed_one(name: str) -> None:
    installed = Path(next(iter(google.rpc.__path__))).parents[1] / name

    assert (GOOGLEAPIS / name).read_bytes() == installed.read_bytes()


def test_each_folder_carries_its_licence() -> None:
    folders = [path for path in THIRD_PARTY.iterdir() if path.is_dir()]

    assert folders
    assert [path.name for path in folders if not (path / "LICENSE").is_file()] == []


def test_the_rules_are_readable_by_the_installed_protobuf() -> None:
    assert importlib.import_module("buf.validate.validate_pb2").DESCRIPTOR.package == "buf.validate"

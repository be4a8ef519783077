"""Contract and client are wheels of their own that work without any package of the servers."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[2]
OWN = ("paycenter-contract", "paycenter-client")
SERVER_PACKAGES = ("psycopg", "sqlalchemy", "nats", "opentelemetry", "starlette", "protovalidate", "pydantic")

# Imports everything of both wheels and uses the client once; nobody listens, which is said in the client's own words.
USE_OF_THE_CLIENT = """
import importlib, json, pkgutil, sys
import paycenter_client
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
for module in pkgutil.walk_packages(paycenter_client.__path__, "paycenter_client."):
    importlib.import_module(module.name)
for area in ("accounting.v1.accounting", "channel.v1.channel_gateway", "payment.v1.payment_core"):
    importlib.import_module(f"paycenter.{area}_pb2_grpc")
targets = paycenter_client.Targets(transaction="127.0.0.1:9")
caller = paycenter_client.Caller(service="shop", tenant_id="t1")
with paycenter_client.PaycenterClient(targets, caller=caller) as client:
    try:
        client.transaction.GetOrder(transaction.GetOrderRequest(order_id="O1"), timeout=1)
        outcome = "answered"
    except paycenter_client.Unavailable:
        outcome = "unavailable"
print(json.dumps({"outcome": outcome, "modules": sorted({name.split(".")[0] for name in sys.modules})}))
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("wheels")
    for source in ("generated", "clients/python"):
        copy = folder / source.replace("/", "_")
        subprocess.run(["cp", "-r", str(PROJECT / source), str(copy)], check=True)
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(copy)],
            check=True,
            capture_output=True,
        )
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def clean_python(tmp_path_factory: pytest.TempPathFactory, wheels: list[Path]) -> str:
    """An environment with the two wheels and what they declare, copied from this environment: no network is needed."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False)
    packages = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    for wheel in wheels:
        zipfile.ZipFile(wheel).extractall(packages)
    here = Path(sysconfig.get_path("purelib"))
    for name in declared():
        for file in distribution(name).files or ():
            source = here / file
            target = packages / file
            if source.is_file() and ".." not in file.parts:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
    return str(folder / "bin" / "python")


def declared() -> set[str]:
    """Every distribution that contract and client need, and what those need, our own two left out."""
    found: set[str] = set()
    waiting = list(OWN)
    while waiting:
        for text in distribution(waiting.pop()).requires or ():
            requirement = Requirement(text)
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if needed and requirement.name not in found and requirement.name not in OWN:
                found.add(requirement.name)
                waiting.append(requirement.name)
    return found


def test_both_wheels_are_built_and_typed(wheels: list[Path]) -> None:
    assert [wheel.name.split("-")[0] for wheel in wheels] == ["paycenter_client", "paycenter_contract"]
    client, contract = (zipfile.ZipFile(wheel).namelist() for wheel in wheels)
    assert "paycenter_client/py.typed" in client
    assert "paycenter/transaction/v1/transaction_core_pb2_grpc.pyi" in contract
    assert not [name for name in client if not name.startswith("paycenter_client")]
    assert not [
        name for name in contract if not name.startswith(("paycenter/", "buf/", "paycenter_contract"))
    ]


def test_no_package_of_the_servers_is_declared() -> None:
    names = {name.lower() for name in declared()}
    assert not {name for name in names for server in SERVER_PACKAGES if name.startswith(server)}
    assert {"grpcio", "protobuf", "cryptography"} <= names


def test_the_client_works_in_an_environment_of_its_own(clean_python: str) -> None:
    done = subprocess.run(
        [clean_python, "-I", "-c", USE_OF_THE_CLIENT], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["outcome"] == "unavailable"
    assert "paycenter_client" in outcome["modules"]
    assert not {"runtime", "core", "channel_gateway", "accounting", *SERVER_PACKAGES} & set(
        outcome["modules"]
    )

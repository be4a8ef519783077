"""The checked-in code is what the contract generates, down to the byte."""

from pathlib import Path

from tools import generate


def test_regenerating_leaves_no_difference(tmp_path: Path) -> None:
    assert generate.differences(generate.generate_into(tmp_path), generate.checked_in()) == []


def test_differences_names_what_is_missing_stale_or_different() -> None:
    expected = {"a.py": b"1", "b.py": b"1", "c.py": b"1"}
    actual = {"b.py": b"2", "c.py": b"1", "d.py": b"1"}

    assert generate.differences(expected, actual) == [
        "missing: generated/a.py",
        "different: generated/b.py",
        "stale: generated/d.py",
    ]


def test_every_generated_package_says_that_it_is_typed() -> None:
    names = generate.checked_in().keys()

    packages = {name.rpartition("/")[0] for name in names}

    assert packages
    assert {f"{package}/py.typed" for package in packages} <= names

"""Writes what the contract generates into `generated/`: nothing stale stays, nothing else there is touched.

`python -m tools.generate` brings the folder up to date, `--check` only says what differs (exit code 1). Needs
no network.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent
GENERATED = PROJECT_ROOT / "generated"
PACKAGE_ROOTS = ("paycenter", "buf")


def generate_into(folder: Path) -> dict[str, bytes]:
    """Generates below `folder`, which must be empty, and returns each file's content by its POSIX path.

    Raises RuntimeError with buf's own words when the contract does not compile.
    """
    scripts = Path(sysconfig.get_path("scripts"))
    completed = subprocess.run(
        [scripts / "buf", "generate", "--output", folder],
        check=False,
        cwd=PROJECT_ROOT,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}" + os.environ.get("PATH", "")},
        capture_output=True,
        text=True,
    )
    if completed.returncode != 0:
        raise RuntimeError(completed.stdout + completed.stderr)
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.py*"))
        if path.relative_to(folder).parts[0] in PACKAGE_ROOTS
    }
    # mypy_grpc stubs files without a service too, and so promises modules that are not there.
    files = {name: content for name, content in files.items() if not _is_stub_of_nothing(name, files)}
    # The packages are namespaces, so each folder with modules carries its own marker for type checkers.
    for package in {name.rpartition("/")[0] for name in files}:
        files[f"{package}/py.typed"] = b""
    return files


def _is_stub_of_nothing(name: str, files: dict[str, bytes]) -> bool:
    return name.endswith("_pb2_grpc.pyi") and name.removesuffix("i") not in files


def checked_in() -> dict[str, bytes]:
    """Returns what now lies below the generated package roots, by POSIX path relative to `generated/`."""
    return {
        path.relative_to(GENERATED).as_posix(): path.read_bytes()
        for root in PACKAGE_ROOTS
        for path in sorted((GENERATED / root).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences(expected: dict[str, bytes], actual: dict[str, bytes]) -> list[str]:
    """Returns one line for each file that is missing, stale or different; empty when both are equal."""
    lines = []
    for name in sorted(expected.keys() | actual.keys()):
        if name not in actual:
            lines.append(f"missing: generated/{name}")
        elif name not in expected:
            lines.append(f"stale: generated/{name}")
        elif expected[name] != actual[name]:
            lines.append(f"different: generated/{name}")
    return lines


def write(expected: dict[str, bytes], actual: dict[str, bytes]) -> None:
    """Writes each differing file by one rename, so that nobody reads half a file; removes stale ones."""
    for name, content in expected.items():
        if actual.get(name) == content:
            continue
        target = GENERATED / name
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(target.name + ".unfinished")
        unfinished.write_bytes(content)
        unfinished.replace(target)
    for name in actual.keys() - expected.keys():
        (GENERATED / name).unlink()


def main(arguments: Sequence[str]) -> int:
    """Generates or checks; returns the exit code of the command."""
    parser = argparse.ArgumentParser(description="Generate Python from the contract.")
    parser.add_argument("--check", action="store_true", help="only say what differs")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="paycenter-generate-") as folder:
        try:
            expected = generate_into(Path(folder))
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
    actual = checked_in()
    lines = differences(expected, actual)
    if options.check:
        print("\n".join(lines) if lines else f"generated code is unchanged ({len(expected)} files)")
        if lines:
            print("run `make gen` and commit the result", file=sys.stderr)
        return 1 if lines else 0
    write(expected, actual)
    print("\n".join(lines) if lines else f"nothing to do ({len(expected)} files)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

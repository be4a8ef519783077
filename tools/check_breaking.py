"""Compares the contract with the one on a branch: nothing that callers rely on may be taken away.

The branch's files are read by `git archive`, so a shallow clone suffices. What cannot be compared (no git, no
such branch, no contract there yet) is said in one line and passes.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.contract import BUF, PROJECT_ROOT


def find_commit(branch: str) -> str | None:
    """Returns the commit of the branch, here or at origin; None when git cannot say."""
    for reference in (branch, f"origin/{branch}"):
        try:
            completed = subprocess.run(
                ["git", "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}"],
                cwd=PROJECT_ROOT,
                check=False,
                capture_output=True,
                text=True,
            )
        except OSError:
            return None
        if completed.returncode == 0:
            return completed.stdout.strip()
    return None


def extract_contract(commit: str, folder: Path) -> bool:
    """Unpacks the commit's contract into the folder, as a workspace; False when that commit has none.

    The workspace takes its configuration and third-party protos from here: they are not what is compared, and
    both sides must have the same modules.
    """
    completed = subprocess.run(
        ["git", "archive", "--format=tar", commit, "--", "protos/paycenter"],
        cwd=PROJECT_ROOT,
        check=False,
        capture_output=True,
    )
    if completed.returncode != 0:
        return False
    with tarfile.open(fileobj=io.BytesIO(completed.stdout)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
    shutil.copy(PROJECT_ROOT / "buf.yaml", folder)
    shutil.copytree(PROJECT_ROOT / "protos" / "third_party", folder / "protos" / "third_party")
    return True


def main(arguments: Sequence[str]) -> int:
    """Runs `buf breaking`; returns its exit code, or 0 when there is nothing to compare with."""
    parser = argparse.ArgumentParser(description="Check that the contract breaks no caller.")
    parser.add_argument("--against", default="main", help="branch to compare with")
    branch = parser.parse_args(arguments).against
    commit = find_commit(branch)
    if commit is None:
        print(f"buf breaking: skipped, git knows no branch {branch} here")
        return 0
    base = f"{branch} ({commit[:12]})"
    with tempfile.TemporaryDirectory(prefix="paycenter-breaking-") as folder:
        if not extract_contract(commit, Path(folder)):
            print(f"buf breaking: skipped, there is no contract on {base}")
            return 0
        exit_code = subprocess.run(
            [str(BUF), "breaking", "--against", folder], cwd=PROJECT_ROOT, check=False
        ).returncode
    if exit_code == 0:
        print(f"buf breaking: nothing breaks what is on {base}")
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

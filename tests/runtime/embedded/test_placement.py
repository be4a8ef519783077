"""PostgreSQL as root, as an ordinary user, and where the folders above cannot be passed."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from runtime.embedded import Parts
from runtime.embedded.layout import Layout
from runtime.embedded.placement import external_folder, place
from tests.runtime.embedded.embedded_support import (
    QUICK_POSTGRES,
    end_owner,
    family_of,
    start_owner,
    wait_until_gone,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user's place")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can pass, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="paycenter-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def modes_above(path: Path) -> list[tuple[str, int]]:
    return [(str(folder), folder.stat().st_mode) for folder in path.parents]


def interpreter_for(account: pwd.struct_passwd) -> str:
    """This interpreter, or the system's of the same version when only root can reach this one."""
    for program in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        with contextlib.suppress(OSError):
            subprocess.run([program, "-V"], user=account.pw_uid, capture_output=True, check=True)
            return program
    pytest.skip("no interpreter of this version that an ordinary user can reach")


def postgres_owner(parts: Parts) -> str:
    return psutil.Process(parts.status()["postgres"].pid).username()


@needs_root
def test_under_root_the_data_stays_inside_when_nobody_can_pass(open_folder: Path) -> None:
    with Parts(open_folder / "center", postgres=QUICK_POSTGRES) as parts:
        assert postgres_owner(parts) == "nobody"
        assert external_folder(parts.layout) is None
        assert (open_folder / "center" / "postgres").stat().st_mode & 0o777 == 0o700


@needs_root
def test_under_root_the_data_goes_outside_of_a_closed_home(open_folder: Path) -> None:
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    before = modes_above(home / "project")
    parts = Parts(home / "project" / ".paycenter", postgres=QUICK_POSTGRES)
    with parts:
        outside = external_folder(parts.layout)
        assert outside is not None
        assert (outside / "postgres").stat().st_mode & 0o777 == 0o700
        assert not outside.is_relative_to(home)
        with psycopg.connect(parts.database_urls["payment"].replace("+psycopg", ""), autocommit=True) as link:
            link.execute("CREATE TABLE kept AS SELECT 5 AS value")
    assert modes_above(home / "project") == before
    with parts, psycopg.connect(parts.database_urls["payment"].replace("+psycopg", "")) as link:
        assert link.execute("SELECT value FROM kept").fetchone() == (5,)
        assert external_folder(parts.layout) == outside
    parts.remove()
    assert not outside.exists()


@needs_root
def test_a_copied_data_directory_gets_data_of_its_own_and_a_moved_one_keeps_it(open_folder: Path) -> None:
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    first = Layout(home / "first")
    data = place(first).data
    data.mkdir()
    shutil.copytree(home / "first", home / "copy")
    copy = Layout(home / "copy")
    assert place(copy).data != data
    (home / "first").rename(home / "moved")
    moved = Layout(home / "moved")
    assert place(moved).data == data
    for layout in (copy, moved):
        outside = external_folder(layout)
        assert outside is not None
        shutil.rmtree(outside)


@needs_root
def test_programs_that_nobody_can_reach_are_copied_once(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specification = place(Layout(open_folder / "probe")).programs.parents[1]
    closed = open_folder / "home" / "site-packages"
    closed.mkdir(parents=True)
    shutil.copytree(specification, closed / specification.name)
    shutil.copytree(specification.with_suffix(".libs"), closed / f"{specification.name}.libs")
    (open_folder / "home").chmod(0o700)
    monkeypatch.setattr(
        "runtime.embedded.placement._installation", lambda: closed / specification.name / "pginstall18"
    )
    with Parts(open_folder / "center", postgres=QUICK_POSTGRES) as parts:
        programs = place(parts.layout).programs
        assert not programs.is_relative_to(closed)
        assert place(parts.layout).programs == programs
        assert postgres_owner(parts) == "nobody"
    shutil.rmtree(programs.parents[2])


@needs_root
def test_what_belongs_to_a_deleted_temporary_folder_is_cleared_away(open_folder: Path) -> None:
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    place(gone := Layout(home / "gone"))
    outside = external_folder(gone)
    assert outside is not None
    shutil.rmtree(home / "gone")
    place(present := Layout(home / "present"))
    assert not outside.exists()
    kept = external_folder(present)
    assert kept is not None
    shutil.rmtree(kept)


@needs_root
def test_a_folder_that_somebody_else_made_first_is_not_trusted(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign, own = open_folder / "foreign", open_folder / "own"
    foreign.mkdir()
    os.chown(foreign, pwd.getpwnam("daemon").pw_uid, -1)
    monkeypatch.setattr("runtime.embedded.placement._bases", lambda _layout: [foreign, own])
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    assert place(Layout(home / "center")).data.is_relative_to(own)


@needs_root
def test_an_ordinary_user_under_a_home_of_mode_700(open_folder: Path) -> None:
    account = pwd.getpwnam("daemon")
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, account.pw_uid, account.pw_gid)
    directory = home / "a project" / ".paycenter"
    program = interpreter_for(account)
    owner, pids = start_owner("stack", directory, user=account.pw_uid, group=account.pw_gid, program=program)
    family = family_of(list(pids.values()))
    assert {process.username() for process in family} == {"daemon"}
    assert (directory / "postgres" / "data" / "PG_VERSION").exists()
    end_owner(owner)
    assert wait_until_gone(family, timeout_seconds=0) == []
    with Parts(directory, postgres=QUICK_POSTGRES) as parts:
        assert postgres_owner(parts) == "daemon"


def test_a_path_longer_than_a_unix_socket_allows(data_directory: Path) -> None:
    deep = data_directory / ("deep folder " * 8) / ("deeper " * 12)
    with Parts(deep, postgres=QUICK_POSTGRES) as parts:
        assert parts.status()["postgres"].is_running
    parts.remove()


def test_the_interpreter_is_not_needed_by_the_user_that_postgres_runs_as(data_directory: Path) -> None:
    with Parts(data_directory, postgres=QUICK_POSTGRES) as parts:
        command = psutil.Process(parts.status()["postgres"].pid).cmdline()
    assert Path(command[0]).name == "postgres"
    assert sys.executable not in command
    if os.geteuid() == 0:
        note = json.loads((data_directory / "postgres.json").read_text())
        assert Path(note["folder"]).exists()

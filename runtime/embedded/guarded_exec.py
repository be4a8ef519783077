"""Becomes another program that the kernel ends together with the process that started it.

Invariant: between the fork and the exec there is no moment in which the death of the parent goes unseen.

Run as a file, with the interpreter isolated (`python -I -S guarded_exec.py ...`), so it needs nothing but the
standard library. Arguments: pid of the parent, number of the signal to get when the parent dies, user id and
group id to take (-1 keeps them), then the command. The users are changed before the signal is asked for,
since a change of user takes the request back. Only Linux knows this signal; elsewhere the parent stops its
children when it exits.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_CANNOT_START = 127


def main(arguments: list[str]) -> int:
    """Replace this process by the command; returns an exit code only when that is impossible."""
    parent_pid, death_signal, user_id, group_id = (int(value) for value in arguments[:4])
    command = arguments[4:]
    os.umask(0o077)
    if user_id >= 0:
        os.setgroups([])
        os.setgid(group_id)
        os.setuid(user_id)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:
        return 0
    try:
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
    return _CANNOT_START


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

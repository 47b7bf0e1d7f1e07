"""Ends what a process started once that process is gone, even by kill -9; runs as a process of its own.

Its standard input is a pipe whose other end only the watched process holds: the end of the pipe is the end of that
process. It is started by path, before the package can be imported, so it knows the standard library only.
"""

import os
import signal
import sys
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

GRACE_S = 8.0
"""How long a program may take to end by its own signal; PostgreSQL gives its backends 5 s at an immediate stop."""
KILL_S = 5.0
"""How long the end of a killed process is waited for; the kernel may hold one longer in a device."""
MARK = "FIELDLINE_PROGRAM"
"""The environment variable that tells what a program started, however deep."""


class Process(NamedTuple):
    """A line of the process table; `born` tells a process from a later one with the same number."""

    pid: int
    parent: int
    session: int
    born: int


class Watched(NamedTuple):
    """The leader of a session that has to end with us, the signal that ends it, and the mark in its environment."""

    pid: int
    born: int
    signal: int
    mark: str


def process(pid: int) -> Process | None:
    """The process with this number, unless it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[1]), int(fields[3]), int(fields[19]))


def family(watched: Collection[Watched]) -> set[Process]:
    """All that comes of the watched: by session, by descent, and by mark where a program moved away and was orphaned."""
    table = [found for name in os.listdir("/proc") if name.isdigit() and (found := process(int(name)))]
    sessions = {each.pid for each in watched}
    marks = {f"{MARK}={each.mark}".encode() for each in watched}
    members = {each for each in table if each.session in sessions or marks & environment(each.pid)}
    while born := {each for each in table if each.parent in {member.pid for member in members}} - members:
        members |= born
    return members


def environment(pid: int) -> set[bytes]:
    """The variables that a process was started with, as far as we may see them."""
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return set()


def lives(member: Process) -> bool:
    """Whether this very process runs still, under whatever parent, and not another that was given its number since."""
    now = process(member.pid)
    return now is not None and now.born == member.born


def kill(members: Iterable[Process]) -> None:
    """Ends these processes at once, and returns when they are gone: a signal that was sent is not yet a process that ended."""
    left = set(members)
    deadline = time.monotonic() + KILL_S
    while (left := set(filter(lives, left))) and time.monotonic() < deadline:
        for member in left:
            send(member.pid, signal.SIGKILL)
        time.sleep(0.005)


def kill_family(watched: Collection[Watched]) -> None:
    """Ends all that comes of the watched, those too that are born while the others die."""
    deadline = time.monotonic() + KILL_S
    while (members := family(watched)) and time.monotonic() < deadline:
        kill(members)


def send(pid: int, signum: int) -> None:
    """Sends a signal to a process that may have ended meanwhile."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return


def end(watched: Iterable[Watched], grace_s: float = GRACE_S) -> None:
    """Ends the watched and all that comes of them: first by their own signal, then by force."""
    ours = [each for each in watched if (now := process(each.pid)) is None or now.born == each.born]
    # Taken before the first signal: a descendant whose parent has died may look like a stranger.
    known = family(ours)
    kill(family([each for each in ours if each.signal == signal.SIGKILL]))
    for each in ours:
        send(each.pid, each.signal)
    deadline = time.monotonic() + grace_s
    while left := set(filter(lives, known)) | family(ours):
        if time.monotonic() > deadline:
            kill(left)
        known |= left
        time.sleep(0.05)


def listen(lines: Iterable[str]) -> list[Watched]:
    """Follows `watch PID BORN SIGNAL MARK` and `forget PID` until the pipe ends; what is watched then."""
    watched: dict[int, Watched] = {}
    for line in lines:
        match line.split():
            case ["watch", pid, born, signum, mark]:
                watched[int(pid)] = Watched(int(pid), int(born), int(signum), mark)
            case ["forget", pid]:
                watched.pop(int(pid), None)
    return list(watched.values())


def main() -> None:
    """Waits for the end of the process that started it, then ends what that had started."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    end(listen(sys.stdin))


if __name__ == "__main__":
    main()

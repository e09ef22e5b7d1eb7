"""An engine that is started by command, so that nothing of it outlives its agent: `python -m tieline.edge.nodes.guard
FILE GRACE_S -- COMMAND ...`.

Model servers start processes of their own, and those may outlive them (vLLM's EngineCore does, and keeps the GPU's
memory). So the command gets a session of its own, and all that is in it, or carries its mark, ends with it: when the
agent goes, in whatever way, when the command itself ends, and, by a second process that watches this one, when this
one is killed. What a machine that was switched off in between left is ended at the next start, from FILE.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from tieline.intake import IntakeError, read
from tieline.store.files import write_private

MARK: Final = "TIELINE_ENGINE_MARK"
SWEEPS, SWEEP_S = 100, 0.05
PROC: Final = Path("/proc")


class LeftEngine(msgspec.Struct, frozen=True, kw_only=True):
    """What FILE says of a command that was started: its session (the pid of its first process), when that process
    began (ticks since boot), which boot, and the mark in its environment."""

    session: int
    began: int
    boot: str
    mark: str


_read_left = msgspec.json.Decoder(LeftEngine).decode


def end_left(file: Path) -> int:
    """End what an earlier start left; how many processes that were. Raises nothing: what cannot be read is nobody's."""
    try:
        left = read(file.read_bytes(), _read_left)
    except (OSError, IntakeError):
        return 0
    ended = 0
    if left.boot == _boot():
        now = _began(left.session)
        # The number is taken for as long as anything is in its session; a process of another beginning is a stranger.
        session = left.session if now in (None, left.began) else None
        ended = _sweep(session, left.mark)
    with contextlib.suppress(OSError):
        file.unlink()
    return ended


def main(arguments: list[str]) -> NoReturn:
    if len(arguments) < 4 or arguments[2] != "--":
        print("usage: python -m tieline.edge.nodes.guard FILE GRACE_S -- COMMAND ...", file=sys.stderr)
        os._exit(2)
    file, grace_s, command = Path(arguments[0]), float(arguments[1]), arguments[3:]
    mark = secrets.token_hex(16)
    reader, said = os.pipe()
    if os.fork() == 0:
        os.close(said)
        _watch_guard(reader, mark)
    os.close(reader)
    try:
        environment = {**os.environ, MARK: mark}
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, env=environment)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(3)
    os.write(said, f"{child.pid}\n".encode())
    left = LeftEngine(session=child.pid, began=_began(child.pid) or 0, boot=_boot(), mark=mark)
    with contextlib.suppress(OSError):
        write_private(file, msgspec.json.encode(left))
    code = _until_ended(child, grace_s)
    _sweep(child.pid, mark)
    with contextlib.suppress(OSError):
        file.unlink()
    os._exit(code if code >= 0 else 128 - code)


def _until_ended(child: subprocess.Popen[bytes], grace_s: float) -> int:
    """Until the command ends or our input does: then it is asked to end, and after a grace it is ended."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    while child.poll() is None:
        ready, _, _ = select.select([0], [], [], 0.1)
        if ready and not os.read(0, 4096):
            _signal_group(child.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(grace_s)
            _signal_group(child.pid, signal.SIGKILL)
            return child.wait()
    return child.returncode


def _watch_guard(reader: int, mark: str) -> NoReturn:
    """In a process and session of its own: when the guard is gone, in whatever way, what it started goes too."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # or the agent's pipes stay open with us
        os.dup2(nothing, descriptor)
    message = b""
    while piece := os.read(reader, 64):
        message += piece
    _sweep(int(message) if message.strip().isdigit() else None, mark)
    os._exit(0)


def _sweep(session: int | None, mark: str) -> int:
    """End all that is in the session or carries the mark, until nothing is; how many that were."""
    ended: set[int] = set()
    if not PROC.is_dir():
        if session is not None:
            _signal_group(session, signal.SIGKILL)
        return 0
    for _ in range(SWEEPS):
        members = list(_members(session, mark))
        if not members:
            break
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                ended.add(pid)
        select.select([], [], [], SWEEP_S)
    return len(ended)


def _members(session: int | None, mark: str) -> Iterator[int]:
    """Processes that are in the session or carry the mark; programs that write their own title lose the mark, and those
    that leave the session keep it."""
    wanted = f"{MARK}={mark}".encode()
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
            own = int(fields[3]) == session or wanted in (entry / "environ").read_bytes().split(b"\0")
            if own and fields[0] != "Z":
                yield int(entry.name)


def _began(pid: int) -> int | None:
    """When a process began, in ticks since boot; None where there is none."""
    try:
        return int((PROC / str(pid) / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _boot() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    main(sys.argv[1:])

"""The clients, their environments, and how their cases are run."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tieline" / "compat"
# Beside a Node.js of the machine's own there may be one in the environment.
PATH: Final = os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.executable).parent)))
# What a registry that cannot be reached says, through pip and npm.
AWAY: Final = (
    "ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH", "ECONNRESET", "NewConnectionError",
    "No matching distribution found", "Temporary failure in name resolution",
)  # fmt: skip


class UnavailableError(Exception):
    """This client cannot be had here, and why."""


@dataclass(frozen=True)
class Client:
    """A client by its name. `file`: its cases; `lock`: what its environment is made of."""

    name: str
    file: str
    lock: str
    proxied: bool = False  # it brings a proxy that stands before the gateway and behind it

    @property
    def node(self) -> bool:
        return self.file.endswith(".mjs")


def _python(name: str, stem: str, *, proxied: bool = False) -> Client:
    return Client(name, f"python/{stem}_python.py", f"env/{stem}.txt", proxied)


CLIENTS: Final = {
    one.name: one
    for one in (
        Client("open-responses", "python/open_responses_python.py", "env/openai.txt"),
        _python("openai-python", "openai"),
        _python("anthropic-python", "anthropic"),
        _python("openai-agents-python", "agents"),
        _python("pydantic-ai", "pydantic_ai"),
        _python("instructor", "instructor"),
        _python("langgraph", "langgraph"),
        _python("litellm", "litellm", proxied=True),
        _python("llm", "llm"),
        Client("openai-node", "node/openai.mjs", "node/package-lock.json"),
        Client("anthropic-node", "node/anthropic.mjs", "node/package-lock.json"),
        Client("openai-agents-node", "node/agents.mjs", "node/package-lock.json"),
        Client("vercel-ai", "node/vercel.mjs", "node/package-lock.json"),
    )
}


def environment(client: Client, cache: Path = CACHE, timeout_s: float = 300.0) -> Path:
    """The folder with its packages, made where it is not there yet. Raises UnavailableError."""
    lock = HERE / client.lock
    folder = cache / f"{lock.parent.name}-{lock.stem}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # two test processes may want it at once
        if not (folder / ".whole").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                (_npm if client.node else _pip)(lock, folder, timeout_s)
            except subprocess.TimeoutExpired as error:
                raise UnavailableError("the registry did not answer in time") from error
            (folder / ".whole").touch()
    return folder


def _call(*command: str, cwd: Path, timeout_s: float) -> None:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": PATH}, capture_output=True, text=True, timeout=timeout_s,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        if any(word in done.stderr + done.stdout for word in AWAY):
            raise UnavailableError("the registry cannot be reached from here, or has not what is locked")
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")


def _pip(lock: Path, folder: Path, timeout_s: float) -> None:
    if shutil.which("uv", path=PATH):
        _call("uv", "venv", "-q", "--python", sys.executable, str(folder), "--allow-existing", cwd=folder, timeout_s=60)
        install = ("uv", "pip", "install", "-q", "--python", str(folder / "bin" / "python"))
    else:
        _call(sys.executable, "-m", "venv", str(folder), cwd=folder, timeout_s=60)
        install = (str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--no-input")
    _call(*install, "-r", str(lock), cwd=folder, timeout_s=timeout_s)


def _npm(lock: Path, folder: Path, timeout_s: float) -> None:
    node_path()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(lock.parent / name, folder / name)
    _call("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=1", cwd=folder, timeout_s=timeout_s)


def node_path() -> str:
    """Node.js, of a version that the clients take. Raises UnavailableError."""
    found = shutil.which("node", path=PATH)
    if found is None or shutil.which("npm", path=PATH) is None:
        raise UnavailableError("Node.js and npm are not installed here")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    if int(version.strip().lstrip("v").partition(".")[0] or 0) < 20:
        raise UnavailableError(f"Node.js {version.strip()} is older than 20")
    return found


def cases_of(
    client: Client, folder: Path, url: str, *, real: str = "", cases: str = "", extra: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Its cases before the gateway at `url`: name, ok, note. `real`: a model where the shape of an answer is enough."""
    told = {"TIELINE_URL": url, "TIELINE_REAL": real, "TIELINE_CASES": cases, **(extra or {})}
    if client.node:  # a package is found from where its caller's file lies
        shutil.copy(HERE / "node" / "cases.mjs", folder / "cases.mjs")
        file = Path(shutil.copy(HERE / client.file, folder))
        command = [node_path(), str(file)]
    else:
        command = [str(folder / "bin" / "python"), str(HERE / client.file)]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": PATH, "PYTHONDONTWRITEBYTECODE": "1", **told},
        capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name"')]
    if done.returncode or not found:
        found.append({"name": "(all)", "ok": False, "note": f"exit {done.returncode}: {done.stderr[-800:]}"})
    return found

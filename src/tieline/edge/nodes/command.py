"""How a site's own command runs a model server: vLLM, SGLang, or any other with an OpenAI-compatible door on loopback.

The command stands in the site's own file and nowhere else: what a platform says places and drains, and never says what
is run. `{port}`, `{model}`, `{path}`, `{index}` and `{slots}` in it are filled in.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

Kind = Literal["vllm", "sglang", "llama.cpp", "other"]
PLACES: Final = ("port", "model", "path", "index", "slots")
# Of each kind: what says that it is well.
HEALTH: Final[Mapping[str, str]] = {
    "vllm": "/health", "sglang": "/health", "llama.cpp": "/health", "other": "/v1/models",
}  # fmt: skip
# A server under full load answers late; three in a row are a stall.
HEALTH_TIMEOUT_S: Final = 5.0
# After the grace that a server has to end by itself, the guard takes this long at most to sweep.
SWEEP_S: Final = 6.0
# Lines of /metrics that count requests that run now, by kind.
_RUNNING: Final = re.compile(
    rb"^(?:vllm:num_requests_running|sglang:num_running_reqs)(?:\{[^}]*\})? ([0-9.e+]+)$", re.M
)


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """One group's command, as its site's file has it. `start_s`: how long it may take until it is well; `stop_s`: how
    long it has to end when asked, before it is ended."""

    words: tuple[str, ...]
    kind: Kind = "vllm"
    environment: Mapping[str, str] = field(default_factory=dict)
    slots: int = 8
    context_tokens: int | None = None
    start_s: float = 900.0
    stop_s: float = 6.0

    def filled(self, port: int, model: str, path: Path, index: int) -> tuple[list[str], dict[str, str]]:
        """Words and environment of the replica of this index, for this port."""
        known = {"port": str(port), "model": model, "path": str(path), "index": str(index), "slots": str(self.slots)}

        def fill(text: str) -> str:
            for name, value in known.items():
                text = text.replace(f"{{{name}}}", value)
            return text

        return [fill(word) for word in self.words], {name: fill(text) for name, text in self.environment.items()}


def guarded(file: Path, words: list[str], grace_s: float) -> list[str]:
    """The same under a guard, so that nothing of it outlives who starts it."""
    return [sys.executable, "-m", "tieline.edge.nodes.guard", str(file), str(grace_s), "--", *words]


def free_port() -> int:
    """One that is free on loopback now; who takes it in between has the replica start anew with another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def running(metrics: bytes) -> int | None:
    """How many requests run, from an engine's /metrics; None where it does not say."""
    counts = [float(value) for value in _RUNNING.findall(metrics)]
    return round(sum(counts)) if counts else None

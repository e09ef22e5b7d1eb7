"""`llm`, the command: a model by its file of OpenAI-compatible endpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cases import CUT, HEARD, LOST, SENSE, URL, case, main

FOLDER = tempfile.mkdtemp(prefix="tieline-compat-llm-")
LINES = [
    f"- model_id: {name}\n  model_name: {name}\n  api_base: {URL}\n  api_key_name: any\n"
    "  supports_schema: true\n  supports_tools: true\n"
    for name in (SENSE, CUT, LOST)
]
(Path(FOLDER) / "extra-openai-models.yaml").write_text("".join(LINES))


def llm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "llm"), *words, "--key", "any"],
        env=os.environ | {"LLM_USER_PATH": FOLDER}, capture_output=True, text=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@case
def prompt() -> None:
    done = llm("-m", SENSE, "hello")
    assert done.stdout.strip() == HEARD, done.stderr


@case
def whole() -> None:
    assert llm("-m", SENSE, "--no-stream", "hello").stdout.strip() == HEARD


@case
def schema() -> None:
    done = llm("-m", SENSE, "--schema", "name, feeders int", "Describe 'Aurora' with 3 feeders")
    assert json.loads(done.stdout) == {"name": "Aurora", "feeders": 3}, done.stderr


@case
def tools() -> None:
    code = "def price(market: str) -> str:\n    'the price'\n    return market + ': 42'\n"
    done = llm("-m", SENSE, "--functions", code, "What is the price in 'ERCOT'?")
    assert "ERCOT: 42" in done.stdout, done.stderr


@case
def cut() -> None:
    assert llm("-m", CUT, "hello").stdout.strip() == HEARD


@case
def lost() -> str:
    done = llm("-m", LOST, "hello")
    assert done.returncode != 0, done.stdout
    return done.stderr.strip()[-150:]


if __name__ == "__main__":
    main()

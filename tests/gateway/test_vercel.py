"""The Vercel AI SDK, from npm and with its versions locked, before a running gateway.

Skipped with its reason where there is no Node.js 18, or the packages are neither here nor to be had.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.able import Able
from tests.gateway.aside import gateway
from tests.gateway.engines import Llama
from tests.gateway.rig import Gateway, free_port

HERE = Path(__file__).parent / "vercel"
MODEL = "tieline-self-test"
# Beside a Node.js of the machine's own there may be one in the environment.
PATH = os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.executable).parent)))
CASES = (
    "generate",
    "stream",
    "object",
    "objectStream",
    "tools",
    "toolStream",
    "responses",
    "embed",
    "missing",
    "abort",
)


def run(*command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=HERE,
        env={**os.environ, "PATH": PATH},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js with the locked packages beside it."""
    found = shutil.which("node", path=PATH)
    if found is None or shutil.which("npm", path=PATH) is None:
        pytest.skip("Node.js and npm are not installed here")
    version = run(found, "--version", timeout_s=20).stdout.strip()
    if int(version.lstrip("v").partition(".")[0] or 0) < 18:
        pytest.skip(f"Node.js {version} is older than 18")
    lock, mark = HERE / "package-lock.json", HERE / "node_modules" / ".locked"
    if not mark.exists() or mark.read_text() != lock.read_text():
        try:
            done = run("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=1", timeout_s=90)
        except subprocess.TimeoutExpired:
            pytest.skip("npm's registry did not answer in time")
        if done.returncode:
            away = ("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH", "E403", "E503", "ECONNRESET")
            if any(code in done.stderr for code in away):
                pytest.skip("npm's registry cannot be reached from here")
            pytest.fail(done.stderr)
        mark.write_text(lock.read_text())
    return found


@pytest.fixture(scope="module")
def said(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], Gateway]]:
    """What each case said, by its name."""
    engine = Llama(free_port())
    engine.start()
    with gateway(tmp_path_factory.mktemp("gateway"), engine.url, scripted=(Able(),), models=()) as g:
        done = run(node, "cases.mjs", g.url, MODEL, "scripted", timeout_s=60)
        assert done.returncode == 0, done.stderr
        yield {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}, g
    engine.stop()


def test_every_case_ran(said: tuple[dict[str, Any], Gateway]) -> None:
    cases, _ = said
    assert tuple(cases) == CASES
    assert not {name: case for name, case in cases.items() if "error" in case}


def test_text_and_objects(said: tuple[dict[str, Any], Gateway]) -> None:
    cases, _ = said
    assert (cases["generate"]["finishReason"], cases["generate"]["usage"]["outputTokens"]) == ("length", 12)
    assert cases["stream"]["same"]
    assert cases["stream"]["parts"] > 10
    assert cases["stream"]["usage"]["outputTokens"] == 40
    assert cases["object"] == {"name": "object", "keys": ["feeders", "name"], "whole": True}
    assert cases["objectStream"]["keys"] == ["feeders", "name"]
    assert cases["objectStream"]["partials"] > 1


def test_tools_responses_and_embeddings(said: tuple[dict[str, Any], Gateway]) -> None:
    cases, _ = said
    assert cases["tools"]["calls"] == [["price", {"market": "ERCOT"}]]
    assert cases["tools"]["steps"] == 2
    assert "42" in cases["tools"]["text"]
    assert cases["toolStream"]["called"]
    assert not cases["toolStream"]["failed"]
    assert cases["responses"]["text"] == "I heard 'hello'; I am scripted."
    assert cases["responses"]["usage"]["inputTokens"] == 9
    assert cases["embed"]["embeddings"] == [[0.5, 1], [0.5, 2]]


def test_refusals_and_departures(said: tuple[dict[str, Any], Gateway]) -> None:
    """An unknown model is an error the SDK does not retry; an aborted stream stops the engine and is billed."""
    cases, g = said
    assert (cases["missing"]["status"], cases["missing"]["retry"]) == (404, False)
    assert "nobody" in cases["missing"]["message"]
    assert cases["abort"]["aborted"]
    asyncio.run(g.quiet())
    left = [u for u in g.usage() if u.finish == "cancelled"]
    assert len(left) == 1
    assert 3 <= left[0].output_tokens < 2000

"""What the clients stand before: a gateway, a real engine, scripted ones, and such that die."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.compat.cutting import CutReal, Cutting, Deaths
from tests.gateway.able import Able
from tests.gateway.aside import gateway
from tests.gateway.engines import Llama
from tests.gateway.rig import Gateway, free_port

from tieline.gateway.settings import Clocks

SELF_TEST = "tieline-self-test"
# Machines that run suites are busy, but a test does not wait like people do.
CLOCKS = Clocks(resume_s=5.0, queue_s=10.0, keep_alive_s=2.0, first_token_s=30.0, idle_s=30.0)


@contextmanager
def door(
    folder: Path, *urls: str, llama: bool = True, proxy: Path | None = None, real: str = SELF_TEST
) -> Iterator[tuple[Gateway, dict[str, str]]]:
    """A gateway before engines at `urls`, and what its clients' cases are told beside its address.

    `llama`: one more that runs the self-test model. The first of the engines that are no script stands there twice
    more, under another name of its model `real`: its connections are cut once within each answer. `proxy`: an
    environment with LiteLLM, whose proxy stands before the gateway and is one of its engines too."""
    able, port = Able(port=free_port()), free_port()
    once, always = Deaths(), Deaths(always=True)
    scripted = [able, *(Cutting("cut", once) for _ in range(2)), *(Cutting("lost", always) for _ in range(2))]
    with ExitStack() as stack:
        engines, told = list(urls), {}
        if llama:
            engine = Llama(free_port())
            stack.callback(engine.stop)
            engine.start()
            engines.append(engine.url)
        cutting: list[Any] = []
        if engines:
            port_of, cuts = int(engines[0].rpartition(":")[2]), Deaths()
            told["TIELINE_REAL_CUT"] = shown = real[:-1] + ("x" if real[-1] != "x" else "y")
            cutting = [CutReal(port_of, real, shown, cuts) for _ in range(2)]
        given: dict[str, Any] = {"models": (), "clocks": CLOCKS, "port": port}
        if proxy is None:
            yield stack.enter_context(gateway(folder, *engines, scripted=(*scripted, *cutting), **given)), told
            return
        at = stack.enter_context(_litellm(proxy, folder, able.port, port))
        told["TIELINE_LITELLM"] = f"{at}/v1"
        yield stack.enter_context(gateway(folder, at, *engines, scripted=(*scripted, *cutting), **given)), told


@contextmanager
def _litellm(env: Path, folder: Path, engine: int, gateway_port: int) -> Iterator[str]:
    """LiteLLM's proxy; its address."""
    port = free_port()
    rows = (
        ("tieline", "openai/scripted", gateway_port),
        ("tieline-cut", "openai/cut", gateway_port),
        ("behind", "openai/scripted", engine),
    )
    lines = "".join(
        f"  - model_name: {name}\n    litellm_params:\n      model: {model}\n"
        f"      api_base: http://127.0.0.1:{at}/v1\n      api_key: any\n"
        for name, model, at in rows
    )
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n{lines}litellm_settings:\n  num_retries: 0\n  telemetry: false\n"
        # On loopback, for as long as the cases run.
        "general_settings:\n  dangerously_permit_weak_or_unset_master_key: true\n"
    )
    command = [str(env / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 120
            while time.monotonic() < until:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=2).close()
                    break
                except OSError:
                    if process.poll() is not None:
                        raise RuntimeError(
                            f"LiteLLM did not start: {(folder / 'litellm.log').read_text()[-800:]}"
                        ) from None
                    time.sleep(0.3)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)

"""Budgets over several machines: separate processes with separate disks, over TLS with a shared secret."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import free_port, parse

from tieline.gateway import workers
from tieline.gateway.budgets.coordinator import CoordinatorServer, encode
from tieline.gateway.budgets.lease import GRACE_S, LEASE_S, Coordinator
from tieline.gateway.budgets.remote import Remembered, listener_tls, proof, remote
from tieline.gateway.settings import Coordination, SettingsError, hash_key

COST = 20 * 400  # nano-dollars of one answer; the prompt is free in this tariff
BUDGET = 200 * COST
SECRET = "a secret of several words"


def config(folder: Path, engine: str, port: int, coordination: str) -> Path:
    path = folder / f"{port}.toml"
    path.write_text(
        f"""
host = "127.0.0.1"
port = {port}
access_log = false
[coordination]
{coordination}
[[engines]]
url = "{engine}"
[[models]]
name = "m"
output_usd_per_mtok = 0.4
[[tenants]]
id = "t"
limits = {{ budget_usd = {Decimal(BUDGET) / 10**9} }}
[[keys]]
id = "k"
tenant = "t"
sha256 = "{hash_key("sk")}"
"""
    )
    return path


class Door:
    """A gateway as an operator starts it."""

    def __init__(self, config: Path, data: Path, port: int) -> None:
        self.config, self.data, self.port = config, data, port
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tieline", "gateway", "--config", str(self.config), "--data", str(self.data),
            env={**os.environ, "TIELINE_COORDINATOR_SECRET": SECRET}, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(90):
            while True:
                try:
                    if (await self.call(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))[1][
                        "ready"
                    ]:
                        return
                except (OSError, IndexError, ValueError):
                    pass
                await asyncio.sleep(0.1)

    async def call(self, request: bytes) -> tuple[int, Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        try:
            answer = await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()
        status, _, body = parse(answer)
        return status, msgspec.json.decode(body)

    async def ask(self, tries: int = 600) -> str:
        """What a patient client ends with: nothing for an answer, else the error's code."""
        body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":20}'
        code = ""
        for _ in range(tries):
            try:
                status, answer = await self.call(
                    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer sk\r\n"
                    b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
                )
                code = "" if status == 200 else answer["error"]["code"]
            except (OSError, IndexError, ValueError, TimeoutError):
                code = "connection"
            if code in ("", "insufficient_quota"):
                break
            await asyncio.sleep(0.1)
        return code

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()

    def spent(self) -> int:
        folders = [self.data, *self.data.glob("worker-*")]
        return sum(sum((workers.audit(folder, ".") or {}).values()) for folder in folders)


def certificate(folder: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_two_machines_share_a_budget_and_one_of_them_dies(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    budgets = free_port()

    async def body() -> None:
        async with Scripted(words=("w ",) * 20, pause_s=0.0, slots=200) as engine:
            one, two = free_port(), free_port()
            first = Door(
                config(
                    tmp_path, engine.url, one,
                    f'listen = "127.0.0.1:{budgets}"\ntls_cert = "{cert}"\ntls_key = "{key}"',
                ),
                tmp_path / "one", one,
            )  # fmt: skip
            second = Door(
                config(tmp_path, engine.url, two, f'at = "127.0.0.1:{budgets}"\ntls_ca = "{cert}"'),
                tmp_path / "two", two,
            )  # fmt: skip
            try:
                await asyncio.gather(first.start(), second.start())
                served = await asyncio.gather(*(door.ask() for door in (first, second) for _ in range(40)))
                assert set(served) == {""}
                tasks = [asyncio.create_task(second.ask(1)) for _ in range(20)]
                await asyncio.sleep(0.05)
                second.kill()
                await asyncio.gather(*tasks)
                # While its lease may be alive nobody is told that the budget is spent.
                rest = [await first.ask() for _ in range(2)]
                assert set(rest) == {""}
                await asyncio.sleep(LEASE_S + GRACE_S + 1.5)
                found = await asyncio.gather(*(first.ask() for _ in range(120)))
                assert set(found) <= {"", "insufficient_quota"}
                assert first.spent() + second.spent() <= BUDGET
                # What it held counts as spent until it is back with its disk; then every last bit can be had.
                await second.start()
                while "" in [await second.ask(), await first.ask()]:
                    assert first.spent() + second.spent() <= BUDGET
                left = BUDGET - first.spent() - second.spent()
                assert 0 <= left < COST
            finally:
                await asyncio.gather(first.stop(), second.stop())

    asyncio.run(body())


def test_nobody_joins_without_the_secret(tmp_path: Path) -> None:
    async def body() -> None:
        coordinator = Coordinator({"tenant:t": 100})
        server = CoordinatorServer(coordinator, lambda _: {}, Remembered(tmp_path / "budgets.json"))
        port = await server.listen("127.0.0.1", 0, SECRET.encode(), None)

        async def join(name: str, secret: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            nonce = msgspec.json.decode(await reader.readline())["hello"]
            message = {"do": "join", "gateway": name, "totals": {}, "claims": {}, "n": 1}
            writer.write(encode(message | {"proof": proof(secret, nonce, name)}) + b"\n")
            answer = await reader.readline()
            writer.close()
            return answer

        assert await join("gateway-a", b"a guess of several words") == b""
        assert await join("worker-0", SECRET.encode()) == b""  # not a name of another machine
        assert b"fence" in await join("gateway-a", SECRET.encode())
        for rubbish in (b"\n", b"[]\n", b'{"do":"ask"}\n', b'{"do":"join"}\n', b"\xff" * 70_000 + b"\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await reader.readline()
            writer.write(rubbish)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
        await server.close()

    asyncio.run(body())


def test_what_others_may_have_spent_survives_the_coordinator(tmp_path: Path) -> None:
    path = tmp_path / "budgets.json"
    Remembered(path).keep("gateway-a", {"tenant:t|2026-11": 70})
    assert Remembered(path).load() == {"gateway-a": {"tenant:t|2026-11": 70}}
    path.write_text("{")
    with pytest.raises(SettingsError, match="cannot be read"):
        Remembered(path).load()


def test_beyond_loopback_a_secret_and_a_certificate_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIELINE_COORDINATOR_SECRET", raising=False)
    with pytest.raises(SettingsError, match="tls_cert"):
        listener_tls(Coordination(listen="10.0.0.1:8790"))
    with pytest.raises(SettingsError, match="TIELINE_COORDINATOR_SECRET is not set"):
        remote(Coordination(at="10.0.0.1:8790"))
    monkeypatch.setenv("TIELINE_COORDINATOR_SECRET", "short")
    with pytest.raises(SettingsError, match="at least 16"):
        remote(Coordination(at="10.0.0.1:8790"))
    monkeypatch.setenv("TIELINE_COORDINATOR_SECRET", SECRET)
    assert remote(Coordination(at="10.0.0.1:8790")).tls is not None
    with pytest.raises(SettingsError, match="HOST:PORT"):
        remote(Coordination(at="10.0.0.1"))
    with pytest.raises(ValueError, match="not both"):
        Coordination(at="127.0.0.1:1", listen="127.0.0.1:2")

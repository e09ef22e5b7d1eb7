"""WhatsMiner: API 2 on port 4028 (a token, encrypted commands) and API 3 on port 4433 (a signed command).

Both tell watts and take a power limit. Sources: MicroBT's API documents 2.0.5 and 3.0; no hardware was at hand. A new
machine takes commands only after its first password was changed with the maker's own tool.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from passlib.hash import md5_crypt

from tieline.clock import wall_now
from tieline.edge.rigs.cgminer import PORT, first_pool, refused, row, scaled, several
from tieline.edge.rigs.driver import Capabilities, Raw, RigOrder
from tieline.edge.rigs.pooling.pools import MOST, PoolSetting
from tieline.edge.rigs.wire import RefusalError, SilentError, ask_json
from tieline.intake import read

PORT_V3 = 4433
PASSWORD, PASSWORD_V3 = "admin", "super"
# The machine forgets a token after 30 minutes; it is asked for anew when a command is refused.
# Making one costs 1.4 ms on either side, ten times the command, so it is had before it is needed: in the first poll,
# and again before it is forgotten, not by all rigs in one sweep.
TOKEN_S, TOKEN_SPREAD_S, TOKEN_AGAIN_S = 1_500.0, 600, 60.0
CAPABILITIES = Capabilities(watts=True, reboot=True, light=True, pools=True, down_s=10.0, up_s=120.0)


class WhatsminerV2:
    firmware = "whatsminer-v2"
    capabilities = CAPABILITIES

    def __init__(self, address: str, port: int = PORT, password: str = PASSWORD) -> None:
        self._address, self._port, self._password = address, port, password
        self._token: tuple[bytes, str] | None = None  # AES key, signature
        self._token_until = float("-inf")
        self.normal: str | None = None
        self._model: str | None = None

    async def poll(self) -> Raw:
        if self._model is None:
            answer = await ask_json(self._address, self._port, b'{"cmd":"devdetails"}')
            model = row(answer, "DEVDETAILS").get("Model")
            self._model = model if isinstance(model, str) else ""
        request = msgspec.json.encode({"cmd": "summary+pools"})
        answers = await several(self._address, self._port, "summary+pools", request)
        summary = row(answers["summary"], "SUMMARY")
        pool, worker = first_pool(answers["pools"])
        await self._hold_token()
        return Raw(
            watts=summary.get("Power"),
            hashrate_hs=scaled(summary.get("HS RT", summary.get("MHS 1m")), 1e6),
            chip_c=summary.get("Chip Temp Max"),
            mac=summary.get("MAC"),
            model=self._model or None,
            pool=pool,
            worker=worker,
        )

    async def tell(self, order: RigOrder) -> None:
        if order.mode == "sleep":
            await self._command("power_off", respbefore="true")
            return
        if order.watts is not None:
            await self._command("adjust_power_limit", power_limit=str(round(order.watts)))
        elif order.mode == "normal":
            await self._command("adjust_power_limit", power_limit="99999")  # the machine takes its own highest
        await self._command("power_on")

    async def reboot(self) -> None:
        await self._command("reboot")

    async def light(self, on: bool) -> None:
        blink = {"color": "red", "period": "200", "duration": "100", "start": "0"}
        await self._command("set_led", **(blink if on else {"param": "auto"}))

    async def set_pools(self, pools: Sequence[PoolSetting]) -> None:
        said: dict[str, str] = {}
        for n in range(MOST):
            one = pools[n] if n < len(pools) else PoolSetting("", "", "")
            said |= {f"pool{n + 1}": one.url, f"worker{n + 1}": one.worker, f"passwd{n + 1}": one.password}
        await self._command("update_pools", **said)

    async def _command(self, name: str, **parameters: str) -> None:
        for again in (True, False):
            key, sign = self._token or await self._new_token()
            body = msgspec.json.encode({"cmd": name, **parameters, "token": sign})
            request = msgspec.json.encode({"enc": 1, "data": _encrypted(key, body)})
            answer = await ask_json(self._address, self._port, request)
            if isinstance(answer.get("enc"), str):
                answer = _decrypted(key, answer["enc"])
            why = refused(answer)
            if why is None:
                return
            self._token = None
            if not again:
                raise RefusalError(f"{name}: {why}")

    async def _hold_token(self) -> None:
        """Have a token that is good for some minutes. A rig that gives none is asked again later; it was heard."""
        now = asyncio.get_running_loop().time()
        if now < self._token_until:
            return
        try:
            await self._new_token()
            self._token_until = now + TOKEN_S - zlib.crc32(self._address.encode()) % TOKEN_SPREAD_S
        except (RefusalError, SilentError):
            self._token_until = now + TOKEN_AGAIN_S

    async def _new_token(self) -> tuple[bytes, str]:
        answer = await ask_json(self._address, self._port, b'{"cmd":"get_token"}')
        given = answer.get("Msg")
        if not isinstance(given, dict) or not all(isinstance(given.get(k), str) for k in ("salt", "time", "newsalt")):
            raise RefusalError(f"get_token: {refused(answer) or given!r}"[:200])
        secret = _crypted(self._password, given["salt"])
        self._token = (hashlib.sha256(secret.encode()).digest(), _crypted(secret + given["time"], given["newsalt"]))
        return self._token


class WhatsminerV3:
    firmware = "whatsminer-v3"
    capabilities = CAPABILITIES

    def __init__(self, address: str, port: int = PORT_V3, password: str = PASSWORD_V3) -> None:
        self._address, self._port, self._password = address, port, password
        self._salt: str | None = None
        self.normal: str | None = None

    async def poll(self) -> Raw:
        status = await self._ask("get.miner.status", "summary+pools")
        device = await self._ask("get.device.info", "network+miner")
        summary, pools = row(status, "summary"), row(status, "pools")
        network, miner = row(device, "network"), row(device, "miner")
        return Raw(
            watts=summary.get("power-realtime"),
            hashrate_hs=scaled(summary.get("hash-realtime"), 1e12),
            chip_c=summary.get("chip-temp-max"),
            asleep=_not(miner.get("working")),
            mac=network.get("mac"),
            serial=miner.get("miner-sn"),
            model=miner.get("type"),
            pool=pools.get("url"),
            worker=pools.get("account"),
        )

    async def tell(self, order: RigOrder) -> None:
        if order.mode == "sleep":
            await self._set("set.miner.service", "stop")
            return
        await self._set("set.miner.power_limit", round(order.watts) if order.watts is not None else 99999)
        await self._set("set.miner.service", "start")

    async def reboot(self) -> None:
        await self._set("set.system.reboot", None)

    async def light(self, on: bool) -> None:
        blink = [{"color": "red", "period": 200, "duration": 100, "start": 0}]
        await self._set("set.system.led", blink if on else "auto")

    async def set_pools(self, pools: Sequence[PoolSetting]) -> None:
        listed = [{"pool": one.url, "worker": one.worker, "passwd": one.password} for one in pools]
        await self._set("set.miner.pools", listed, secret=True)

    async def _set(self, name: str, parameter: object, secret: bool = False) -> None:
        """`secret`: the parameter travels encrypted with what the token is the beginning of."""
        if self._salt is None:
            salt = (await self._ask("get.device.info", "salt")).get("salt")
            if not isinstance(salt, str):
                raise RefusalError("get.device.info gave no salt")
            self._salt = salt
        # The machine compares with its own clock, so the site's wall clock has to be right to some minutes.
        seconds = int(wall_now().timestamp())
        digest = hashlib.sha256(f"{name}{self._password}{self._salt}{seconds}".encode()).digest()
        if secret:
            parameter = _encrypted(digest, msgspec.json.encode(parameter))
        command = {
            "cmd": name, "param": parameter, "ts": seconds, "account": "super",
            "token": base64.b64encode(digest).decode()[:8],
        }  # fmt: skip
        answer = await ask_json(self._address, self._port, msgspec.json.encode(command), prefixed=True)
        if answer.get("code") != 0:
            self._salt = None
            raise RefusalError(f"{name}: {str(answer.get('msg'))[:120]}")

    async def _ask(self, name: str, parameter: str) -> dict[str, Any]:
        request = msgspec.json.encode({"cmd": name, "param": parameter})
        answer = await ask_json(self._address, self._port, request, prefixed=True)
        message = answer.get("msg")
        if answer.get("code") != 0 or not isinstance(message, dict):
            raise SilentError(f"{self._address}:{self._port}: {name}: {str(message)[:120]}")
        return message


def _crypted(word: str, salt: str) -> str:
    """The hash part of the word's MD5 crypt."""
    return str(md5_crypt.using(salt=salt).hash(word)).rsplit("$", 1)[1]


_object = msgspec.json.Decoder(dict[str, Any]).decode


def _encrypted(key: bytes, body: bytes) -> str:
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # the maker's protocol
    padded = body + b"\0" * (-len(body) % 16)
    return base64.b64encode(cipher.update(padded) + cipher.finalize()).decode()


def _decrypted(key: bytes, text: str) -> dict[str, Any]:
    cipher = Cipher(algorithms.AES(key), modes.ECB()).decryptor()  # the maker's protocol
    try:
        plain = cipher.update(base64.b64decode(text)) + cipher.finalize()
        return read(plain.rstrip(b"\0"), _object)
    except ValueError:
        raise SilentError("an answer that cannot be decrypted") from None


def _not(value: object) -> object:
    """API 3 writes "true" and "false" as text."""
    return {"true": False, "false": True}.get(value) if isinstance(value, str) else None

"""A pool of each kind and a chain's index on loopback, answering in the shapes that their documentation has. Nothing
of it was recorded from a real account."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ADDRESS = "bc1qminer00000000000000000000000000000000"
OTHER = "bc1qother00000000000000000000000000000000"
DAY0 = 1_793_491_200  # 2026-11-01 00:00 UTC


def braiins(days: int = 3) -> dict[str, Any]:
    rewards = [
        {
            "date": DAY0 + 86_400 * n, "total_reward": f"0.{50 + n}000001", "mining_reward": f"0.{50 + n}000001",
            "bos_plus_reward": "0", "referral_bonus": "0", "referral_reward": "0",
            "calculation_date": DAY0 + 86_400 * (n + 1) + 3_600,
        }
        for n in reversed(range(days))
    ]  # fmt: skip
    return {"btc": {"daily_rewards": rewards}}


def f2pool(number: int, day: int) -> dict[str, Any]:
    at = DAY0 + 86_400 * day
    extra = {"mining_date": at, "settle_date": at + 86_400, "pps": 0.5, "pps_fee_rate": 0.02, "tx_fee": 0.01,
             "tx_fee_rate": 0.02, "hash_rate": 1.1e18}  # fmt: skip
    return {"id": number, "type": "revenue_fpps", "changed_balance": 0.49980000000000002, "created_at": at + 90_000,
            "mining_extra": extra, "payout_extra": None}  # fmt: skip


def transaction(
    number: int, height: int, at: int, value: int, *, coinbase: bool = False, sender: str = OTHER
) -> dict[str, Any]:
    source = {"is_coinbase": True, "prevout": None} if coinbase else {
        "is_coinbase": False, "prevout": {"scriptpubkey_address": sender, "value": value + 500}
    }  # fmt: skip
    return {
        "txid": f"{number:064x}", "version": 2, "fee": 500, "vin": [source],
        "vout": [
            {"scriptpubkey": "6a", "value": 0},
            {"scriptpubkey": "0014", "scriptpubkey_address": ADDRESS, "value": value},
            {"scriptpubkey": "0014", "scriptpubkey_address": OTHER, "value": 7},
        ],
        "status": {"confirmed": True, "block_height": height, "block_hash": "00", "block_time": at},
    }  # fmt: skip


class Coins:
    """What the server holds, and what it was asked."""

    def __init__(self) -> None:
        self.base = ""
        self.tip: Any = 920_200
        self.daily: Any = braiins()
        self.bills: Any = [f2pool(7, 0), f2pool(8, 1)]
        self.chain: list[dict[str, Any]] = []
        self.troubles: list[int] = []
        self.asked: list[tuple[str, Any, dict[str, str]]] = []

    def answer(self, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        self.asked.append((path, body, headers))
        if self.troubles:
            return self.troubles.pop(0), {}
        if path.startswith("/accounts/rewards/json/btc"):
            return (200, self.daily) if headers.get("pool-auth-token") == "secret" else (401, {})
        if path == "/v2/assets/transactions/list":
            if headers.get("f2p-api-secret") != "secret":
                return 200, {"code": -201, "msg": "token error"}
            if not isinstance(self.bills, list):
                return 200, self.bills
            within = [b for b in self.bills if body["start_time"] <= b["created_at"] < body["end_time"]]
            return 200, {"transactions": within}
        if path == "/blocks/tip/height":
            return 200, self.tip
        head = f"/address/{ADDRESS}/txs/chain"
        if path.startswith(head):
            names = [one["txid"] for one in self.chain]
            last = path.removeprefix(head).strip("/")
            start = names.index(last) + 1 if last else 0
            return 200, self.chain[start : start + 25]
        return 404, {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    coins: Coins

    def do_GET(self) -> None:
        self._tell(None)

    def do_POST(self) -> None:
        self._tell(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _tell(self, body: Any) -> None:
        status, told = self.coins.answer(self.path, body, {k.lower(): v for k, v in self.headers.items()})
        content = told if isinstance(told, bytes) else json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(coins: Coins) -> Iterator[Coins]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"coins": coins}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    coins.base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield coins
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

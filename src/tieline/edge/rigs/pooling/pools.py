"""Where rigs are to mine: what is approved, as one rig is told it, and whether it was read back.

A text names one to three pools, the first with the highest priority: `URL WORKER [PASSWORD]`, parted by semicolons.
`{rig}` in a worker's name becomes the last two numbers of the rig's address, as 4x17.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from tieline.intake import IntakeError

MOST: Final = 3
SCHEMES: Final = ("stratum+tcp", "stratum+ssl", "stratum2+tcp")
_WORD: Final = re.compile(r"[!-~]{1,120}")


class PoolSetting(msgspec.Struct, frozen=True):
    """One pool. `password`: what the pool's protocol calls so; most pools do not read it."""

    url: str
    worker: str
    password: str = "x"


def read_pools(text: str) -> tuple[PoolSetting, ...]:
    """Raises IntakeError, naming what is wrong and what it takes."""
    pools = []
    for part in text.split(";"):
        words = part.split()
        if len(words) not in (2, 3):
            raise IntakeError(f"give URL WORKER [PASSWORD], not {part.strip()[:80]!r}", "pools")
        if not all(_WORD.fullmatch(word) and "," not in word for word in words):
            raise IntakeError(f"{part.strip()[:80]!r}: words of up to 120 plain characters, without commas", "pools")
        _check_url(words[0])
        pools.append(PoolSetting(*words))
    if len(pools) > MOST:
        raise IntakeError(f"{len(pools)} pools; a rig takes {MOST} at most", "pools")
    return tuple(pools)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port is not None and not parts.username
    except ValueError:
        fits = False
    if not fits:
        raise IntakeError(f"{url[:80]!r}: give stratum+tcp://HOST:PORT ({', '.join(SCHEMES)})", "pools")


def for_rig(pools: tuple[PoolSetting, ...], address: str) -> tuple[PoolSetting, ...]:
    """As the rig at this address is told them."""
    name = "x".join(address.split(".")[-2:])
    return tuple(msgspec.structs.replace(one, worker=one.worker.replace("{rig}", name)) for one in pools)


def read_back(pools: tuple[PoolSetting, ...], pool: str | None, worker: str | None) -> bool:
    """Whether a rig says that it mines at the first of them. Firmwares say the URL with or without its scheme."""
    first = pools[0]
    return pool is not None and _place(pool) == _place(first.url) and worker == first.worker


def _place(url: str) -> str:
    return url.rpartition("://")[2].rstrip("/").lower()

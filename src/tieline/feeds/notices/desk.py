"""The platform's own sources of orders: programs of operators and aggregators that speak to the desk, not to a site.

The same client as a site's agent has. What a source says becomes Instructions for one site, on record, with the plan
decided anew and the order passed on to the site like one from the link. A source that cannot be read is a fault; what
its silence means is configured.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tieline.config import NoticeSource
from tieline.feeds.faults import FaultBook
from tieline.feeds.notices.openadr2 import OpenAdr2Source, VenIdentity
from tieline.feeds.notices.openadr3 import OpenAdrSource
from tieline.feeds.notices.standing import OrderSource, SilencePolicy, SourceError, StandingOrders
from tieline.records import Fault, Instruction

READ_TIMEOUT_S = 20.0
# Of the platform's own orders among a site's.
ORIGIN = "desk"


@dataclass
class NoticeDesk:
    """One source for one site."""

    source: OrderSource
    standing: StandingOrders
    faults: FaultBook

    @classmethod
    def of(cls, notice: NoticeSource, environ: Mapping[str, str] = os.environ) -> NoticeDesk:
        name = notice.name or notice.source
        silence = SilencePolicy(
            timedelta(seconds=notice.silent_after_s), notice.when_silent, notice.silent_limit_mw * 1e6
        )
        standing = StandingOrders(notice.site, name, silence, ORIGIN)
        return cls(_source(notice, name, environ), standing, FaultBook(f"notices {name} for {notice.site}"))

    @property
    def name(self) -> str:
        return f"{self.standing.name} for {self.standing.site_id}"

    def adopt(self, orders: Iterable[Instruction], now: datetime) -> None:
        """After a restart: orders on record that this source had given."""
        self.standing.adopt(orders, now)

    async def read_once(self, now: datetime) -> list[Instruction | Fault]:
        """One reading, and what follows from it: orders begun, changed and ended, faults begun and ended."""
        line: str | None = None
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                orders = self.standing.hear(now, await self.source.read(now))
        except TimeoutError:
            line = f"no answer within {READ_TIMEOUT_S:.0f} s"
        except SourceError as error:
            line = str(error)
        except Exception as error:  # whatever a library raises is this source's silence
            line = f"{type(error).__name__}: {error}"
        if line is not None:
            orders = self.standing.miss(now)
            if self.standing.silent:
                line += f"; silent past its bound: {self.standing.silence.policy}"
        return [*orders, *self._told("silent", line, now), *self._told("unreadable", self.source.doubt, now)]

    def _told(self, what: str, line: str | None, now: datetime) -> list[Fault]:
        return self.faults.close(what, now) if line is None else self.faults.open(what, line, now)

    async def close(self) -> None:
        await self.source.close()


def _source(notice: NoticeSource, name: str, environ: Mapping[str, str]) -> OrderSource:
    limit_w = notice.limit_mw * 1e6
    if notice.source == "openadr2b":
        identity = VenIdentity(notice.ven or "", notice.cert_file, notice.key_file, notice.ca_file, notice.fingerprint)
        return OpenAdr2Source(notice.url, identity, limit_w, name)
    client = None if notice.client_id is None else (notice.client_id, environ.get(notice.secret_env or "", ""))
    return OpenAdrSource(notice.url, notice.program or "", client, limit_w, name, notice.ven)

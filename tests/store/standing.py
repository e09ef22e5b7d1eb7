"""A leader as a process of its own: `python -m tests.store.standing FOLDER URL NAME`. Appends the next numbered record
and takes its turn many times a second while it leads, and says when it leads and when it was refused."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from tests.store.kinds import T0, tick

from tieline import records
from tieline.records import PriceTick
from tieline.store import Store, StoreError
from tieline.store.lead import holder
from tieline.store.lead.fence import Turn
from tieline.store.lead.holder import Lead
from tieline.store.place import StorePlace

# Two fifths of the times that are used, so that a test takes seconds.
holder.BEAT_S, holder.LOOK_S, holder.HOLD_S, holder.TAKE_S = 0.2, 0.05, 1.2, 1.6
STEP_S = 0.05
END = T0 + timedelta(days=9_999)


async def main(folder: Path, url: str, name: str) -> None:
    place = StorePlace(folder, url)
    while True:
        lead = Lead(place, "core", name)
        await lead.stand()
        store = Store(place, records.encode, records.decode)
        store.fence = lead.fence
        print(f"leads {lead.number}", flush=True)
        try:
            while lead.holds:
                lead._loop_at = lead._clock.monotonic()
                number = len(store.between(PriceTick, T0, END))
                one = tick(number)
                store.append([one], [Turn("s", one.at, 0)])
                await asyncio.sleep(STEP_S)
            lead.check()
        except StoreError as error:
            print(f"refused {type(error).__name__}", flush=True)
        finally:
            lead.close()
            store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))

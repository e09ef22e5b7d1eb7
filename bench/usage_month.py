"""A month of usage records, folded to invoices: are they exact, how long does it take, how much memory?

    .venv/bin/python bench/usage_month.py [--records 2000000]

Fills a store on disk with requests of 40 tenants whose sums are kept beside it as integers, then has a process of its
own make the month's invoices as `tieline books invoices` does, and compares every line.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tieline import records
from tieline.records import Usage
from tieline.store import Store

MONTH, START = "2026-11", datetime(2026, 11, 1, tzinfo=UTC)
SECONDS = 30 * 86_400
BATCH = 20_000
MOST_MB = 500

FOLD = """
import json, resource, sys, time
from pathlib import Path
from tieline import records
from tieline.books import invoices, month_span
from tieline.records import Usage
from tieline.store import Store
store = Store(Path(sys.argv[1]), records.encode, records.decode, read_only=True)
began = time.perf_counter()
made = invoices(store.each(Usage, *month_span(sys.argv[2])), sys.argv[2], keyed=True)
lines = [[i.tenant, l.project, l.model, l.requests, l.prompt_tokens, l.output_tokens, l.nano_usd] for i in made
         for l in i.lines]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
print(json.dumps({"lines": lines, "s": time.perf_counter() - began, "peak_mb": peak}))
"""


def month(count: int, sums: dict[tuple[str, str, str], list[int]]) -> Iterator[Usage]:
    """`count` requests over the month, out of order as gateways tell them; `sums` collects what they come to."""
    draw = random.Random(1)
    for number in range(count):
        at = START + timedelta(seconds=draw.randrange(SECONDS), microseconds=draw.randrange(1_000_000))
        tenant, project, model = f"t{draw.randrange(40)}", f"p{draw.randrange(3)}", f"m{draw.randrange(4)}"
        prompt, output, cost = draw.randrange(4_000), draw.randrange(1_000), draw.randrange(10**9)
        line = sums[tenant, project, model]
        for index, one in enumerate((1, prompt, output, cost)):
            line[index] += one
        yield Usage(
            at=at, known_at=at, source="gateway", kind="measured", request_id=f"req-{number:032x}", tenant=tenant,
            project=project, key_id="k", model=model, endpoint="/v1/chat/completions", status=200,
            prompt_tokens=prompt, output_tokens=output, cost_nano_usd=cost,
        )  # fmt: skip


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--records", type=int, default=2_000_000)
    count = given.parse_args().records
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        store = Store(path, records.encode, records.decode)
        began = time.perf_counter()
        batch: list[Usage] = []
        for one in month(count, sums):
            batch.append(one)
            if len(batch) == BATCH:
                store.append(batch)
                batch = []
        store.append(batch)
        store.close()
        print(f"{count:,} records written in {time.perf_counter() - began:.0f} s, {path.stat().st_size / 1e6:,.0f} MB")
        done = subprocess.run(
            [sys.executable, "-c", FOLD, str(path), MONTH], capture_output=True, text=True, check=True
        )
    told = json.loads(done.stdout)
    found = {tuple(line[:3]): line[3:] for line in told["lines"]}
    exact = found == dict(sums)
    print(f"invoices of {len(found)} lines in {told['s']:.1f} s, at most {told['peak_mb']:.0f} MB: "
          f"{'exact' if exact else 'WRONG'}")  # fmt: skip
    return 0 if exact and told["peak_mb"] < MOST_MB else 1


if __name__ == "__main__":
    raise SystemExit(main())

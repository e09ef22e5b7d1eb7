"""A seeded sample of the kill test (`bench/continuity.py`): real llama.cpp engines, a gateway process, real faults.

Nothing is timed here but that it happens: the full run, and what it measures, is `make bench-continuity`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
PICK = (
    "greedy text+kill,greedy text+cut,greedy text+half,greedy text+stall,greedy text+storm,json schema+cut,"
    "tool call+kill,sampled+half,n=2+cut,responses+cut,responses+kill,not streamed+cut,notice,client,retry"
)


@pytest.mark.slow
def test_a_sample_of_every_fault_is_seen_by_no_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    import continuity
    from continuity_faults import Engine, Plans, free_port
    from continuity_subjects import Tieline

    options = argparse.Namespace(step=20, peer_step=20, sample=2, resumes=0, notices=1, seed=3, pick=PICK)

    async def body() -> dict[str, dict[str, object]]:
        plans = Plans()
        engines = [Engine(name, plans) for name in "ab"]
        subject = Tieline(tmp_path / "gateway", await free_port())
        try:
            for engine in engines:
                await engine.start()
            assert await subject.start(engines)
            return await continuity.Run(subject, engines, plans, options).all()
        finally:
            await asyncio.to_thread(subject.stop)
            for engine in engines:
                engine.stop()

    result = asyncio.run(body())
    fine = {"runs", "not hit", "told", "right", "billed"}
    for name, row in result.items():
        if " / " in name:
            wrong = {k: v for k, v in row.items() if k not in fine and not k.endswith("_ms")}
            assert not wrong, (name, row)
    assert len(result) >= 14
    assert result["client leaves"]["still_running_after_2_s"] == 0
    assert result["client leaves"]["billed"] == {"right": 2}
    assert result["retry-after"]["right"] == result["retry-after"]["runs"]
    assert set(result["usage records"]) == {"right"}


def test_an_endpoint_that_ends_early_is_not_called_well() -> None:
    """The judge itself: what it must not take for a whole answer."""
    sys.path.insert(0, str(BENCH))
    try:
        from continuity_client import Seen, _compare, judge
    finally:
        sys.path.remove(str(BENCH))
    whole = Seen(200, texts={0: "1, 2, 3, 4"}, finishes={0: "length"}, well=True, usage=(9, 10))

    def seen(text: str, **more: object) -> Seen:
        given = {"texts": {0: text}, "finishes": {0: "length"}, "well": True, "usage": (9, 10)} | more
        return Seen(200, **given)  # type: ignore[arg-type]

    assert judge("greedy text", seen("1, 2, 3, 4"), whole, 10) == []
    assert judge("greedy text", seen("1, 2"), whole, 10) == ["silent truncation"]
    assert judge("greedy text", seen("1, 2, 3, 4", usage=(9, 12)), whole, 10) == ["wrong bill"]
    assert judge("greedy text", seen("1, 2, 3, 4", well=False), whole, 10) == ["visible failure"]
    assert judge("json schema", seen('{"name":', finishes={0: "stop"}), whole, 10) == ["silent corruption"]
    assert judge("json schema", seen('{"name":'), whole, 10) == ["cut at its limit, and says so"]
    assert _compare("1, 3, 4", whole.text) == ["gap"]
    assert _compare("1, 2, 2, 3, 4", whole.text) == ["duplicate"]

"""Bytes of an earlier form are read as today's, wherever they come from."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.store.kinds import tick

from tieline import records
from tieline.intake import IntakeError
from tieline.records import Fault
from tieline.records.upcast import UPCASTS
from tieline.store import Store

T0 = datetime(2026, 11, 1, tzinfo=UTC)
TODAY = Fault(
    at=T0, known_at=T0, source="test", kind="measured", site_id="a", what="stuck", detail="three rigs", share=0.25
)


def first(today: Fault) -> bytes:
    """As an imagined first version wrote it: another name for `what`, percent for a share, no detail."""
    plain = msgspec.json.decode(records.encode(today))
    plain["type"], plain["cause"], plain["percent"] = "Fault@0", plain.pop("what"), plain.pop("share") * 100
    del plain["detail"]
    return msgspec.json.encode(plain)


def _renamed(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "what": old["cause"]}


def _as_share(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "share": old["percent"] / 100, "detail": "three rigs"}


@pytest.fixture
def two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPCASTS, "Fault@0", ("Fault@1", _renamed))
    monkeypatch.setitem(UPCASTS, "Fault@1", ("Fault", _as_share))


@pytest.mark.usefixtures("two_steps")
def test_an_old_form_is_lifted_step_by_step_out_of_store_batch_and_link() -> None:
    assert records.decode(first(TODAY)) == TODAY
    batch = b"[" + first(TODAY) + b"," + records.encode(tick(0)) + b"]"
    assert records.decode_batch(batch) == records.read_batch(batch) == [TODAY, tick(0)]
    assert records.read_record(first(TODAY)) == TODAY
    (admitted, other) = records.admit(batch, T0 + timedelta(hours=1))
    assert [admitted.record, other.record] == [TODAY, tick(0)]  # type: ignore[union-attr]
    store = Store(None, lambda record: first(TODAY), records.decode)
    store.append([TODAY])
    assert store.between(Fault, T0, T0 + timedelta(days=1)) == [TODAY]
    assert store.aside() == []


@pytest.mark.usefixtures("two_steps")
def test_what_is_no_earlier_form_is_refused_as_before() -> None:
    for bad in (b'{"type":"Fault@9"}', b'{"type":"Fault@0"}', b'{"type":7}', b"[]", b"{"):
        with pytest.raises(IntakeError):
            records.read_record(bad)


def test_without_earlier_forms_an_unknown_tag_is_refused_by_name() -> None:
    with pytest.raises(msgspec.ValidationError, match="Fault@0"):
        records.decode(first(TODAY))

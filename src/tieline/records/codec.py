"""Records as bytes, and back: the form that is stored and that travels."""

import msgspec

from tieline.intake import MAX_MESSAGE, read, refusal
from tieline.records.approval import ApprovalRecord
from tieline.records.base import Record
from tieline.records.dispatch import DispatchRecord
from tieline.records.fleet import FleetRecord
from tieline.records.inference import InferenceRecord
from tieline.records.market import MarketRecord
from tieline.records.money import MoneyRecord
from tieline.records.treasury import TreasuryRecord
from tieline.records.upcast import UPCASTS, lifted

AnyRecord = (
    MarketRecord | FleetRecord | DispatchRecord | InferenceRecord | MoneyRecord | TreasuryRecord | ApprovalRecord
)

_encoder = msgspec.json.Encoder(decimal_format="string")
_decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)
_raw_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_batch_decoder: msgspec.json.Decoder[list[AnyRecord]] = msgspec.json.Decoder(list[AnyRecord])


def encode(record: Record) -> bytes:
    """One line of JSON, tagged with its type.

    Raises ValueError, which names the field, for what could not be read back: a number that is none (NaN, infinity), a
    time without a zone, a figure beyond its unit's bounds. To store such a line would make the mistake permanent.
    """
    line = _encoder.encode(record)
    try:
        back = _decoder.decode(line)
    except msgspec.ValidationError as error:
        raise ValueError(f"{type(record).__name__} of {record.subject or record.source}: {refusal(error)}") from error
    if b"null" in line and back != record:  # JSON writes NaN and infinity as null, which would read as "not known"
        lost = [field for field in record.__struct_fields__ if getattr(record, field) != getattr(back, field)]
        raise ValueError(f"{type(record).__name__} of {record.subject or record.source}: {lost[0]}: not a number")
    return line


def decode(line: bytes | str) -> AnyRecord:
    """A line that was stored here, by this version or one before. Raises msgspec.ValidationError, which names the
    field, for anything that is no record. Bytes of strangers go through `read_record` or `admit`."""
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError:
        if (today := lifted(line)) is None:
            raise
        return _decoder.decode(today)


def encode_batch(batch: list[AnyRecord]) -> bytes:
    """As one JSON list. Raises what `encode` raises."""
    return b"[" + b",".join(encode(one) for one in batch) + b"]"


def decode_batch(data: bytes) -> list[AnyRecord]:
    """What `encode_batch` made here; raises as `decode` does."""
    return _decode_batch(data)


def read_record(data: bytes) -> AnyRecord:
    """One record from bytes of a stranger. Raises intake.IntakeError and nothing else."""
    return read(data, decode)


def read_batch(data: bytes, most: int = MAX_MESSAGE) -> list[AnyRecord]:
    """Records from bytes of a stranger, all or none. Raises intake.IntakeError and nothing else."""
    return read(data, _decode_batch, most)


def _decode_batch(data: bytes | str) -> list[AnyRecord]:
    try:
        return _batch_decoder.decode(data)
    except msgspec.ValidationError:
        if not UPCASTS:
            raise
        return [decode(bytes(one)) for one in _raw_decoder.decode(data)]

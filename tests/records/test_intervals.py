"""What a record is a mean or a sum over is never nothing: it is divided by."""

from msgspec import inspect

from tieline.records import AnyRecord


def test_no_record_can_hold_an_interval_of_no_length() -> None:
    lengths = {
        one.cls.__name__: field.type.ge  # type: ignore[attr-defined]
        for one in inspect.type_info(AnyRecord).types  # type: ignore[attr-defined]
        for field in one.fields
        if field.encode_name == "length_s"
    }
    assert len(lengths) > 8
    assert set(lengths.values()) == {1}

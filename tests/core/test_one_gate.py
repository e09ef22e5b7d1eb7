"""Bytes become values in one place: whoever decodes elsewhere has a reason that is written down here."""

import ast
import json
from pathlib import Path

import msgspec
import pytest

import tieline
from tieline.intake import IntakeError, items, read, read_json

SRC = Path(tieline.__file__).parent

# Where a decoder is called without `intake.read` around it, and why that is no stranger's bytes or is caught there.
ALLOWED = {
    "intake.py": "the gate itself",
    "records/codec.py": "stored rows, which passed the gate; others come through read_record and read_batch",
    "records/upcast.py": "stored rows",
    "gateway/wire/decoding.py": "the gateway's form of the gate: DecodeError alone leaves it",
    "gateway/wire/loose.py": "a lenient form of the same for engines' answers",
    "gateway/workers.py": "a line from our own parent process",
    "gateway/requests/continuity/resume_calls.py": "a field of a body that was read before",
    "app/runtime.py": "our own file, written whole",
    "app/up.py": "our own file, written whole",
    "app/console_part.py": "our own file, written whole",
    "backtest/data.py": "recorded data a person names on the command line",
    "dispatch/inference/gpu.py": "a table in the package",
    "console/rooms/disclosed.py": "a form; its door catches all",
    "settlement/release.py": "stored rows",
    "study/surface.py": "our own cache, written whole",
    "alerts/service.py": "rows of its own database; the link's bytes pass the gate",
    "alerts/response.py": "rows of the alerts' database",
    "console/rooms/alerts.py": "rows of the alerts' database",
    "cli/alerts.py": "rows of the alerts' database",
}


# Fake devices read what we send them; any text is a document to the reader, and what is no JSON is read as text.
ELSEWHERE = ("sim/", "disclosures/")


def raw_decodes(source: str) -> set[int]:
    """Lines that call `json.loads`, `json.load` or `msgspec.json.decode`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.loads", "json.load", "msgspec.json.decode"):
            found.add(node.lineno)
    return found


def test_nobody_decodes_past_the_gate() -> None:
    found = {}
    for path in SRC.rglob("*.py"):
        name = path.relative_to(SRC).as_posix()
        if not name.startswith(ELSEWHERE):
            lines = raw_decodes(path.read_text())
            if lines:
                found[name] = lines
    beyond = {name: lines for name, lines in found.items() if name not in ALLOWED}
    assert beyond == {}, "decode bytes of others with tieline.intake.read or read_json"


def test_the_check_sees_a_raw_decode() -> None:
    assert raw_decodes("import json\nx = json.loads(b)\ny = msgspec.json.decode(b)\nz = read(b, json.loads)") == {2, 3}


EVIL = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 50_000 + b"1",
    b"1e999",
    b'"\\ud800"',
    b"NaN",
    b"\x00",
    b"[1,",
]


@pytest.mark.parametrize("data", EVIL)
@pytest.mark.parametrize("decode", [json.loads, msgspec.json.decode, msgspec.json.Decoder(dict[str, int]).decode])
def test_whatever_a_decoder_throws_is_one_exception(data: bytes, decode) -> None:  # type: ignore[no-untyped-def]
    try:
        read(data, decode)
    except IntakeError as error:
        found = str(error)
    else:
        found = "taken"
    assert found


def test_size_is_looked_at_before_anything_is_parsed() -> None:
    with pytest.raises(IntakeError, match="1,001 bytes; at most 1,000 are read"):
        read(b" " * 1_001, lambda _: pytest.fail("parsed"), 1_000)
    with pytest.raises(IntakeError, match="at most"):
        items(b"[" + b"1," * 1_000 + b"1]", 1_000)
    assert read_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}

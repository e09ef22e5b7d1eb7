"""JSON from outside, read so that whatever comes is either a value or one kind of error.

The decoder below refuses brackets nested beyond the interpreter's stack with RecursionError and text that is not
UTF-8 with UnicodeDecodeError, neither of which is a DecodeError; a number may overflow a Decimal. Here all of it
is msgspec.DecodeError, so that a caller who handles malformed JSON has handled everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

import msgspec

T = TypeVar("T")

TOO_DEEP: Final = "JSON is nested too deeply"
# What decoding raises beside DecodeError: stack, encoding, numbers, and what a type's own checks raise.
_ODD: Final = (RecursionError, ValueError, ArithmeticError)
# All that a bare decoder raises, for who calls one himself since he reads a frame or a body of every request.
UNREADABLE: Final = (msgspec.DecodeError, *_ODD)

JsonText = bytes | bytearray | memoryview | str | msgspec.Raw


def json_reader(kind: type[T], *, strict: bool = True) -> Callable[[JsonText], T]:
    """A function that reads a value of this type, and raises only msgspec.DecodeError."""
    decode = msgspec.json.Decoder(kind, strict=strict).decode

    def read(data: JsonText) -> T:
        try:
            return decode(data)
        except msgspec.DecodeError:
            raise
        except _ODD as error:
            raise as_decode_error(error) from error

    return read


@overload
def read_json(data: JsonText) -> Any: ...
@overload
def read_json(data: JsonText, kind: type[T], *, strict: bool = True) -> T: ...
def read_json(data: JsonText, kind: Any = Any, *, strict: bool = True) -> Any:
    """One value, for what is not read often. Raises only msgspec.DecodeError."""
    try:
        return msgspec.json.decode(data, type=kind, strict=strict)
    except msgspec.DecodeError:
        raise
    except _ODD as error:
        raise as_decode_error(error) from error


def as_decode_error(error: Exception) -> msgspec.DecodeError:
    """Whatever a decoder raised, as the one kind of error."""
    if isinstance(error, msgspec.DecodeError):
        return error
    if isinstance(error, RecursionError):
        return msgspec.DecodeError(TOO_DEEP)
    if isinstance(error, UnicodeDecodeError):
        return msgspec.DecodeError("JSON must be UTF-8")
    return msgspec.DecodeError(str(error) or type(error).__name__)

"""Records of earlier forms, lifted to today's when they are read.

A field with a default needs nothing here: old bytes lack it, old readers leave it out. For any other change the type
gets a new tag (`class Usage(Record, tag="Usage@2", ...)`), and its old tag a function here that makes an object of the
next form from one of that. Bytes carry their form in their tag, so it does not matter whether they come out of a store,
an outbox that waited through an update, or from a site that has not been updated yet. Nothing stored is rewritten.
"""

from collections.abc import Callable
from typing import Any

import msgspec

# A JSON object of one form to one of the next; `type` is set here to the tag that it then has.
Lift = Callable[[dict[str, Any]], dict[str, Any]]

# Old tag -> (the next form's tag, how to get there). Lines stay for ever: some store still has such bytes.
UPCASTS: dict[str, tuple[str, Lift]] = {}


class _Tagged(msgspec.Struct):
    type: str = ""


_tag = msgspec.json.Decoder(_Tagged).decode


def lifted(line: bytes | str) -> bytes | None:
    """The bytes in today's form; None where their tag is no earlier form's. Raises msgspec.DecodeError for what is
    neither."""
    if not UPCASTS or _tag(line).type not in UPCASTS:
        return None
    fields: dict[str, Any] = msgspec.json.decode(line)
    while (step := UPCASTS.get(fields["type"])) is not None:
        tag, lift = step
        try:
            fields = {**lift(fields), "type": tag}
        except Exception as error:  # a stranger's bytes may carry an old tag and nothing that belongs to it
            raise msgspec.ValidationError(f"no {fields['type']}: {type(error).__name__} {error}") from error
    return msgspec.json.encode(fields)

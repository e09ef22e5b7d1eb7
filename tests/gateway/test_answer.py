"""A whole answer under another name is the same answer under that name, whichever way it is written."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tieline.gateway.requests.answer import renamed

NAMES = st.text(st.sampled_from('ab/"\\é%'), min_size=1, max_size=6)
# Where the name, or what looks like it, may stand as well.
TEXTS = st.sampled_from(["", "m", '"model":"a"', '"model": "a"', "\\", "a", '{"model":"a"}'])


@example("a", "b", "x", {"model": "a"}, True, False)
@example("a", "b", '"model":"a"', {}, True, True)
@given(NAMES, NAMES, TEXTS, st.dictionaries(TEXTS | st.just("model"), NAMES, max_size=2), st.booleans(), st.booleans())
def test_only_the_name_changes(
    own: str, public: str, text: str, nested: dict[str, str], first: bool, spaced: bool
) -> None:
    rest: dict[str, Any] = {"choices": [{"message": {"content": text, "extra": nested}, "finish_reason": "stop"}]}
    plain = {"model": own, **rest} if first else {**rest, "model": own}
    body = json.dumps(plain, separators=None if spaced else (",", ":"), ensure_ascii=first).encode()
    assert json.loads(renamed(body, own, public)) == {**plain, "model": public}

"""The end of a request: what ends its stream, and what is still to be counted. Pure.

Nothing here sends or bills; an Exchange does, in this order: counted, billed, on disk, and only then the last byte.
"""

from __future__ import annotations

from typing import Final

from tieline.gateway.budgets.admit import owed_nano
from tieline.gateway.requests import chunks, counting
from tieline.gateway.requests.state import RequestState
from tieline.gateway.settings import NANO_PER_USD
from tieline.gateway.wire import sse

JSON_HEADERS: Final = b"content-type: application/json\r\n"
WHOLE_HEADERS: Final = JSON_HEADERS + b"x-tieline-continuity: regenerate\r\n"


def uncounted(state: RequestState) -> bool:
    return state.output_tokens is None or state.prompt_tokens is None


def by_model(state: RequestState) -> bool:
    """Did the model end its answer itself, with a token that nobody sees? A stop string is what it was cut at."""
    return state.finish == "stop" and "stop" not in state.request.fields


def tail(state: RequestState) -> bytes:
    """What ends the stream, when all is counted."""
    prompt, output = state.prompt_tokens or 0, state.output_tokens or 0
    if state.request.wants_usage and state.names is not None:
        names = state.public_names()
        usage = chunks.usage_object(prompt, state.cached_tokens, output, state.reasoning_tokens)
        owed = owed_nano(state.offer, state.ticket, prompt, state.cached_tokens, output)
        usage["cost_usd"] = owed / NANO_PER_USD
        return chunks.usage_frame(names, state.request.kind, usage) + sse.DONE
    return sse.DONE


def at_limit(state: RequestState) -> bytes:
    """The client has all that it may: what says so."""
    state.finish = "length"
    return chunks.frame(state.public_names(), state.request.kind, None, "length", index=state.index or 0)


def take_counts(state: RequestState, prompt: int | None, output: int | None) -> None:
    """Tokens by an engine's own tokenizer, where it could be asked; else estimated. Never above what was agreed."""
    if state.output_tokens is None:
        known = None if state.unkept else output
        state.output_tokens = counting.estimate(known, state.tokens, state.most_output)
    if state.prompt_tokens is None:
        # A quarter of the bytes is what text usually is.
        counted = prompt if prompt is not None else state.request.prompt_bytes // 4
        state.prompt_tokens = min(max(1, counted), state.bounds(0).prompt)
    state.estimated = True

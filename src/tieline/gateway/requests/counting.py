"""What an engine says that it used, judged before it is money. Pure.

A report is believed where it can be true: a prompt of at least one token and at most what was reserved for it, an
output of at least one token for each frame of text that was delivered and at most the limit of each answer. A part
that cannot be true is not known: it is counted here, marked as estimated, and the replica is named to the operator.
"""

from __future__ import annotations

import msgspec

from tieline.gateway.requests.body import Request
from tieline.gateway.wire.decoding import read_json
from tieline.gateway.wire.sse import TokenUsage

_IN_FRAMES = msgspec.Raw(b'{"include_usage":true,"continuous_usage_stats":true}')
# A frame may hold a part of a token, where an engine parts reasoning from text; not many do.
SLACK_FRAMES = 2
SLACK_SHARE = 32
# The longest token of usual vocabularies is a run of 128 spaces.
MAX_TOKEN_BYTES = 128


class TokenReport(msgspec.Struct, frozen=True, gc=False):
    """Tokens by an engine's word; None: it said nothing that can be true. `false`: it said what cannot be."""

    prompt: int | None = None
    output: int | None = None
    cached: int = 0
    reasoning: int | None = None
    false: str = ""


class CountBounds(msgspec.Struct, frozen=True, gc=False):
    """What a report may say: of a prompt that is not empty, and of an output that brought so many frames."""

    prompt: int
    output: int
    least: int = 0


def least(frames: int, text_bytes: int = 0) -> int:
    """The fewest tokens that so many frames, or so much text, can be."""
    if not frames and not text_bytes:
        return 0
    return max(1, frames - SLACK_FRAMES - frames // SLACK_SHARE, text_bytes // MAX_TOKEN_BYTES)


def read(usage: TokenUsage, bounds: CountBounds, base: int = 0, repeated: int = 0) -> TokenReport:
    """`base`: output that earlier hops delivered and this engine does not count; `repeated`: how much of its prompt
    was that output. `bounds.output` is 0 where nothing is written: embeddings, rankings."""
    prompt, output = _counts(usage, writes=bounds.output > 0)
    false = ""
    if prompt is not None:
        prompt -= repeated
        if not prompt:
            prompt = None  # of an empty prompt it may be true, and costs nothing to count
        elif not 0 < prompt <= bounds.prompt:
            false, prompt = f"{prompt} prompt tokens, where at most {bounds.prompt} fit", None
    if output is not None:
        output += base
        if not bounds.least <= output <= bounds.output:
            false = f"{output} output tokens, where {bounds.least} to {bounds.output} can be"
            output = None
    return TokenReport(prompt, output, _share(_cached(usage), prompt), _reasoning(usage, output), false[:200])


def _counts(usage: TokenUsage, *, writes: bool) -> tuple[int | None, int | None]:
    """(prompt, output) by whichever names they are reported, the one from the other and their sum where it lacks."""
    prompt = usage.prompt_tokens if usage.prompt_tokens is not None else usage.input_tokens
    output = usage.completion_tokens if usage.completion_tokens is not None else usage.output_tokens
    total = usage.total_tokens
    if not writes:
        return total if prompt is None else prompt, 0
    if total is not None and prompt is None and output is not None:
        prompt = total - output
    elif total is not None and output is None and prompt is not None:
        output = total - prompt
    return prompt, output


def by_frames(request: Request, engine: str) -> bool:
    """Is an engine asked to say in each frame what was used so far? Text can be counted where its end was cut off; of a
    tool call or a grammar's words the engine's own tokens are others than their text's. With log-probabilities each
    frame is read in full anyway."""
    odd = request.tools or request.structured or request.asks("logprobs")
    return engine == "vllm" and request.kind == "chat" and request.stream and odd and request.answers == 1


def ask_for_usage(body: bytes) -> bytes:
    """The same request, for usage in each frame."""
    fields = read_json(body, dict[str, msgspec.Raw])
    return msgspec.json.encode(fields | {"stream_options": _IN_FRAMES})


def estimate(counted: int | None, frames: int, most: int) -> int:
    """Tokens that nobody reported: `counted` by a tokenizer, or one for each frame; never more than was agreed."""
    return max(0, min(most, max(counted or 0, frames)))


def balance(outputs: list[int], total: int) -> list[int]:
    """The hops' own counts of what they delivered, so that they add up to what is billed: the last hop that
    delivered anything has counted less than it should, or more."""
    shares = [max(0, one) for one in outputs]
    surplus = sum(shares) - max(0, total)
    for at in range(len(shares) - 1, -1, -1):
        if surplus <= 0:
            break
        cut = min(shares[at], surplus)
        shares[at] -= cut
        surplus -= cut
    if surplus < 0 and shares:
        last = max((at for at, one in enumerate(shares) if one), default=len(shares) - 1)
        shares[last] -= surplus
    return shares


def _cached(usage: TokenUsage) -> int | None:
    details = usage.prompt_tokens_details or usage.input_tokens_details
    return None if details is None else details.cached_tokens


def _reasoning(usage: TokenUsage, output: int | None) -> int | None:
    details = usage.completion_tokens_details or usage.output_tokens_details
    if details is None or details.reasoning_tokens is None or output is None:
        return None
    return max(0, min(output, details.reasoning_tokens))


def _share(part: int | None, whole: int | None) -> int:
    return 0 if part is None or whole is None else max(0, min(part, whole))

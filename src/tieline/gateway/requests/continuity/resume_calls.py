"""The engine calls around a resume: what a stream goes on from, made with the new replica's own template and
tokenizer, and the counts that engines leave out. What may go on how is `resume`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from tieline.gateway.requests import chunks
from tieline.gateway.requests.answer import words_of
from tieline.gateway.requests.body import Request
from tieline.gateway.requests.chunks import Chunk
from tieline.gateway.requests.continuity import resume
from tieline.gateway.requests.continuity.replay import Replay
from tieline.gateway.requests.continuity.resume import Way
from tieline.gateway.requests.continuity.token_ids import Ids
from tieline.gateway.requests.ports import ReplicaPool
from tieline.gateway.requests.state import RequestState
from tieline.gateway.routing import route
from tieline.gateway.routing.route import Want
from tieline.gateway.settings import ModelOffer
from tieline.gateway.wire.decoding import json_reader, read_json
from tieline.gateway.wire.upstream import Backend, call

TOKENIZE_S: Final = 5.0
# Trailing ids whose text had not been delivered: half a character, or the beginning of a stop string.
MAX_UNDELIVERED: Final = 16


class _Tokens(msgspec.Struct):
    tokens: list[int] | None = None
    count: int | None = None


class _Prompt(msgspec.Struct):
    prompt: str


class _Text(msgspec.Struct):
    content: str | None = None  # llama.cpp
    prompt: str | None = None  # vLLM


_tokens = json_reader(_Tokens)
_prompt = json_reader(_Prompt)
_text = json_reader(_Text)


class PromptRefusedError(OSError):
    """An engine's template or tokenizer refuses the prompt, in its words."""


class CannotContinueError(Exception):
    """Not on this kind of engine, or not in the way that was promised; another try changes nothing."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a replica is asked so that a stream goes on: after `base` tokens, of which its prompt holds `repeated`, in
    frames that `read` understands (None: in the form that the stream began in). `replay`: what has to come again."""

    path: str
    body: bytes
    base: int = 0
    read: Callable[[bytes], Chunk] | None = None
    repeated: int = 0
    replay: Replay | None = None


class Continuing:
    """One per process."""

    def __init__(self, pool: ReplicaPool) -> None:
        self.pool = pool

    async def plan(self, state: RequestState, backend: Backend, text: str) -> Continuation | None:
        """How `backend` goes on after `text`; None where the output limit is already used up. Raises OSError,
        CannotContinueError."""
        request = state.request
        own = backend.name_of(state.offer)
        match state.way(backend.engine):
            case Way.AFRESH:
                return Continuation(resume.PATHS[request.kind], request.encode(own, state.limit))
            case Way.REPLAY:
                return self._anew(state, own)
            case Way.IDS:
                plan = await self._from_ids(state, backend, own, text)
            case Way.TOKENS:
                plan = await self._from_tokens(state, backend, own, text)
            case Way.TURN | Way.PROMPT as way:
                plan = await self._from_text(state, backend, own, text, way)
            case Way.NONE:
                raise CannotContinueError(f"a {backend.engine or 'plain'} engine cannot continue this stream")
        if resume.remaining(request, plan.base) <= 0:
            state.output_tokens = plan.base
            return None
        return plan

    def _anew(self, state: RequestState, own: str) -> Continuation:
        """The same request again; what was delivered has to come again."""
        state.ids = None
        body = state.request.encode(own, state.limit)
        return Continuation(resume.PATHS[state.request.kind], body, replay=Replay(state.parts()))

    async def _from_ids(self, state: RequestState, backend: Backend, own: str, text: str) -> Continuation:
        if state.ids is None:
            raise CannotContinueError("the last replica gave no token ids")
        prompt, delivered = await self._proven(state.ids, state, backend, own, text)
        hop = len(state.hops)
        if backend.engine == "vllm":
            body = resume.ids_body(state.request, own, prompt, delivered, hop)
            return Continuation("/v1/completions", body, len(delivered), chunks.of_chunk, len(delivered))
        body = resume.tokens_body(state.request, prompt, delivered, hop)
        return Continuation("/completion", body, len(delivered), chunks.of_llama)

    async def _from_tokens(self, state: RequestState, backend: Backend, own: str, text: str) -> Continuation:
        prompt, delivered = await asyncio.gather(
            self._prompt_tokens(state.request, backend), self._tokenize(backend, text, special=False)
        )
        for stop in resume.stops(state.request) if resume.greedy(state.request) else ():
            if (await self._tokenize(backend, text + stop, special=False))[: len(delivered)] != delivered:
                return self._anew(state, own)  # its text ends within a token that begins the stop string
        state.prompt_tokens = len(prompt)
        body = resume.tokens_body(state.request, prompt, delivered, len(state.hops))
        # As many tokens came as frames did; the same text in one piece may be fewer.
        base = max(len(delivered), state.tokens)
        return Continuation("/completion", body, base, chunks.of_llama, len(delivered))

    async def _from_text(self, state: RequestState, backend: Backend, own: str, text: str, way: Way) -> Continuation:
        request, hop = state.request, len(state.hops)
        in_turn = way is Way.TURN and backend.engine == "llama.cpp"
        exact = in_turn and resume.greedy(request)
        if exact and not await self._same_prompt(request, backend, text):
            return self._anew(state, own)
        count = await self._count(backend, [text], own)
        base, repeated = max(count or 0, state.tokens), state.tokens if count is None else count
        if way is Way.PROMPT:
            plain = resume.prompt_body(request, own, text, base, hop)
            if plain is None:
                raise CannotContinueError("the prompt is token ids")
            return Continuation(resume.PATHS["completions"], plain, base, None, repeated)
        if in_turn:
            state.prompt_tokens = len(await self._prompt_tokens(state.request, backend))
        body = resume.turn_body(request, backend.engine, own, text, base, hop)
        return Continuation(resume.PATHS["chat"], body, base, None, repeated)

    async def _same_prompt(self, request: Request, backend: Backend, text: str) -> bool:
        """Is a begun turn the undisturbed prompt and the text, and nothing else? A template that knows of reasoning
        writes an empty thought between them."""
        whole, begun = await asyncio.gather(
            self._template(backend, resume.template_body(request)),
            self._template(backend, resume.template_body(request, text)),
        )
        return begun == whole + text

    async def _template(self, backend: Backend, body: bytes) -> str:
        status, answer = await call(backend, "POST", "/apply-template", body, TOKENIZE_S)
        if status == 400:
            raise PromptRefusedError(_words(answer) or "the engine's template refuses these messages")
        if status != 200:
            raise OSError(f"/apply-template answered {status}")
        return _prompt(answer).prompt

    async def _proven(
        self, ids: Ids, state: RequestState, backend: Backend, own: str, text: str
    ) -> tuple[list[int], list[int]]:
        """The prompt's ids, and the ids that this engine turns into exactly what was delivered. After reasoning
        they are more than the text, and end in it."""
        prompt = ids.prompt or (
            await self._prompt_tokens(state.request, backend) if backend.engine == "llama.cpp" else []
        )
        if not prompt:
            raise CannotContinueError("the engine gave no ids of the prompt")
        if state.prompt_tokens is None:
            state.prompt_tokens = len(prompt)
        delivered = ids.delivered
        for end in range(len(delivered), max(0, len(delivered) - MAX_UNDELIVERED), -1):
            plain = await self._detokenize(backend, delivered[:end], own)
            if plain == text or (state.specials is not None and plain.endswith(text)):
                ids.delivered = delivered[:end]
                return prompt, ids.delivered
            if len(plain) < len(text):
                break
        raise CannotContinueError("the token ids are not those of what was delivered")

    async def _detokenize(self, backend: Backend, tokens: list[int], model: str) -> str:
        asked: dict[str, object] = {"tokens": tokens}
        if backend.engine == "vllm":
            asked["model"] = model
        status, answer = await call(backend, "POST", "/detokenize", msgspec.json.encode(asked), TOKENIZE_S)
        if status != 200:
            raise CannotContinueError(f"/detokenize answered {status}")
        text = _text(answer)
        return (text.content if text.content is not None else text.prompt) or ""

    async def _prompt_tokens(self, request: Request, backend: Backend) -> list[int]:
        if request.kind == "completions":
            plain = read_json(request.fields["prompt"])
            if isinstance(plain, list) and plain and isinstance(plain[0], int):
                return plain
            prompt = plain[0] if isinstance(plain, list) else plain
        else:
            prompt = await self._template(backend, resume.template_body(request))
        return await self._tokenize(backend, prompt, special=True)

    async def _tokenize(self, backend: Backend, text: str | list[str], *, special: bool) -> list[int]:
        body = resume.tokenize_body(text, special=special)
        status, answer = await call(backend, "POST", "/tokenize", body, TOKENIZE_S)
        if status != 200:
            raise OSError(f"/tokenize answered {status}")
        return _tokens(answer).tokens or []

    async def _count(self, backend: Backend, texts: list[str], model: str) -> int | None:
        """Tokens of all these texts by the engine's tokenizer; None where it has none to ask."""
        if backend.engine == "llama.cpp":
            return len(await self._tokenize(backend, texts[0] if len(texts) == 1 else texts, special=False))
        if backend.engine not in ("vllm", "sglang"):
            return None
        tokens = 0
        for text in texts:
            body = msgspec.json.encode({"model": model, "prompt": text, "add_special_tokens": False})
            status, answer = await call(backend, "POST", "/tokenize", body, TOKENIZE_S)
            if status != 200:
                return None
            counted = _tokens(answer)
            tokens += counted.count if counted.count is not None else len(counted.tokens or [])
        return tokens

    async def count_whole(
        self, state: RequestState, texts: list[tuple[str, bool]], backend: Backend | None
    ) -> tuple[int | None, int | None]:
        """(prompt, output) tokens by any live engine of the model; None: not to be had. Of several texts; one that its
        engine ended has a token more, which says so."""
        for one in self._to_ask(state.want, backend)[:3]:
            own = one.name_of(state.offer)
            try:
                counted = await self._count(one, [text for text, _ in texts], own)
                output = None if counted is None else counted + sum(ended for _, ended in texts)
                prompt = state.prompt_tokens
                if prompt is None:
                    prompt = await self._count_prompt(state.request, one, own)
            except (OSError, msgspec.DecodeError, CannotContinueError):
                continue
            return prompt, output
        return None, None

    def _to_ask(self, want: Want, first: Backend | None) -> list[Backend]:
        """Replicas that may count; those that are left alone after a cut connection come last: a question costs little,
        and one whose answers were cut may be well."""
        well = self.pool.serving(want)
        alone = [one for one in self.pool.replicas if one not in well and route.may_take(one, want)]
        return sorted(well, key=lambda one: one is not first) + sorted(alone, key=lambda one: one is not first)

    async def count_prompt(self, request: Request, offer: ModelOffer, want: Want) -> int | None:
        """Tokens of a prompt by any live engine of the model; None: not to be had. Raises PromptRefusedError: an engine
        says what is wrong with it."""
        for one in self.pool.serving(want)[:3]:
            try:
                counted = await self._count_prompt(request, one, one.name_of(offer))
            except PromptRefusedError:
                raise
            except (OSError, msgspec.DecodeError):
                continue
            if counted is not None:
                return counted
        return None

    async def _count_prompt(self, request: Request, backend: Backend, own: str) -> int | None:
        if backend.engine == "llama.cpp" and request.kind == "completions" and request.prompts > 1:
            prompts = read_json(request.fields["prompt"])
            if isinstance(prompts[0], list):
                return sum(map(len, prompts))
            marks = len(await self._tokenize(backend, "", special=True))  # what begins and ends each prompt
            return len(await self._tokenize(backend, prompts, special=True)) + marks * (len(prompts) - 1)
        chat = request.kind == "chat"
        if backend.engine == "llama.cpp" and (chat or request.kind == "completions"):
            return len(await self._prompt_tokens(request, backend))
        if backend.engine in ("vllm", "sglang") and chat and not request.images:
            body = msgspec.json.encode({"model": own, "messages": request.fields["messages"]})
            status, answer = await call(backend, "POST", "/tokenize", body, TOKENIZE_S)
            if status == 200:
                return _tokens(answer).count
            if status == 400:
                raise PromptRefusedError(_words(answer) or "the engine's template refuses these messages")
        return None


def _words(answer: bytes) -> str:
    try:
        return words_of(read_json(answer))
    except msgspec.DecodeError:
        return ""

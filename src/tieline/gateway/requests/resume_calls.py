"""The engine calls around a resume: what a stream goes on from, made with the new replica's own template and
tokenizer, and the counts that engines leave out. What may go on how is `resume`'s.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from tieline.gateway.requests import chunks as pieces
from tieline.gateway.requests import resume
from tieline.gateway.requests.attempt import Leg
from tieline.gateway.requests.resume import Way
from tieline.gateway.routing import route
from tieline.gateway.wire.upstream import Backend, call

if TYPE_CHECKING:
    from tieline.gateway.requests.exchange import Exchange
    from tieline.gateway.requests.token_ids import Ids
    from tieline.gateway.service import Service

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


_tokens = msgspec.json.Decoder(_Tokens).decode
_prompt = msgspec.json.Decoder(_Prompt).decode
_text = msgspec.json.Decoder(_Text).decode


class CannotContinueError(Exception):
    """Not on this kind of engine, or not in the way that was promised; another try changes nothing."""


class Continuing:
    """One per process."""

    def __init__(self, svc: Service) -> None:
        self.svc = svc

    async def leg(self, ex: Exchange, backend: Backend, text: str) -> Leg | None:
        """A leg that continues after `text`; None where the output limit is already used up. Raises OSError,
        CannotContinueError."""
        request = ex.request
        way = resume.way(request, backend.engine, text, ids=ex.exact)
        own = self.svc.own_name(ex.offer, backend)
        hop = len(ex.hops)
        base = 0
        read = None
        if way is Way.IDS:
            if ex.ids is None:
                raise CannotContinueError("the last replica gave no token ids")
            prompt, delivered = await self._proven(ex.ids, ex, backend, own, text)
            base = len(delivered)
            if backend.engine == "vllm":
                body, path = resume.ids_body(request, own, prompt, delivered, hop), "/v1/completions"
                read = pieces.of_chunk
            else:
                body, path = resume.tokens_body(request, prompt, delivered, hop), "/completion"
                read = pieces.of_llama
        elif way is Way.TOKENS:
            prompt, delivered = await asyncio.gather(
                self._prompt_tokens(ex, backend), self._tokenize(backend, text, special=False)
            )
            ex.prompt_tokens, base = len(prompt), len(delivered)
            body, path = resume.tokens_body(request, prompt, delivered, hop), "/completion"
            read = pieces.of_llama
        elif way in (Way.TURN, Way.PROMPT):
            count = await self._count(backend, text, own)
            base = ex.tokens if count is None else count
            if way is Way.TURN:
                if backend.engine == "llama.cpp":
                    ex.prompt_tokens = len(await self._prompt_tokens(ex, backend))
                body, path = resume.turn_body(request, backend.engine, own, text, base, hop), resume.PATHS["chat"]
                read = pieces.of_chunk if request.kind == "responses" else None
            else:
                plain = resume.prompt_body(request, own, text, base, hop)
                if plain is None:
                    raise CannotContinueError("the prompt is token ids")
                body, path = plain, resume.PATHS["completions"]
        elif way is Way.AFRESH:
            body, path = request.encode(own, ex.limit), resume.PATHS[request.kind]
        else:
            raise CannotContinueError(f"a {backend.engine or 'plain'} engine cannot continue this stream")
        if way is not Way.AFRESH and resume.remaining(request, base) <= 0:
            ex.output_tokens = base
            return None
        leg = Leg(ex, backend, backend.head("POST", path, len(body), ex.id, ex.trace) + body)
        leg.base_tokens = base
        leg.read = read
        return leg

    async def _proven(
        self, ids: Ids, ex: Exchange, backend: Backend, own: str, text: str
    ) -> tuple[list[int], list[int]]:
        """The prompt's ids, and the ids that this engine turns into exactly what was delivered. After reasoning
        they are more than the text, and end in it."""
        prompt = ids.prompt or (await self._prompt_tokens(ex, backend) if backend.engine == "llama.cpp" else [])
        if not prompt:
            raise CannotContinueError("the engine gave no ids of the prompt")
        if ex.prompt_tokens is None:
            ex.prompt_tokens = len(prompt)
        found = ids.delivered
        for end in range(len(found), max(0, len(found) - MAX_UNDELIVERED), -1):
            plain = await self._detokenize(backend, found[:end], own)
            if plain == text or (ex.reasoned and plain.endswith(text)):
                ids.delivered = found[:end]
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
        found = _text(answer)
        return (found.content if found.content is not None else found.prompt) or ""

    async def _prompt_tokens(self, ex: Exchange, backend: Backend) -> list[int]:
        request = ex.request
        if request.kind == "completions":
            plain = msgspec.json.decode(request.fields["prompt"])
            if isinstance(plain, list) and plain and isinstance(plain[0], int):
                return plain
            prompt = plain[0] if isinstance(plain, list) else plain
        else:
            status, body = await call(backend, "POST", "/apply-template", resume.template_body(request), TOKENIZE_S)
            if status != 200:
                raise OSError(f"/apply-template answered {status}")
            prompt = _prompt(body).prompt
        return await self._tokenize(backend, prompt, special=True)

    async def _tokenize(self, backend: Backend, text: str, *, special: bool) -> list[int]:
        body = resume.tokenize_body(text, special=special)
        status, answer = await call(backend, "POST", "/tokenize", body, TOKENIZE_S)
        if status != 200:
            raise OSError(f"/tokenize answered {status}")
        return _tokens(answer).tokens or []

    async def _count(self, backend: Backend, text: str, model: str) -> int | None:
        """Tokens of a text by the engine's tokenizer; None where it has none to ask."""
        if backend.engine == "llama.cpp":
            return len(await self._tokenize(backend, text, special=False))
        if backend.engine in ("vllm", "sglang"):
            body = msgspec.json.encode({"model": model, "prompt": text, "add_special_tokens": False})
            status, answer = await call(backend, "POST", "/tokenize", body, TOKENIZE_S)
            if status == 200:
                found = _tokens(answer)
                return found.count if found.count is not None else len(found.tokens or [])
        return None

    async def count(self, ex: Exchange, text: str, backend: Backend | None) -> tuple[int | None, int | None]:
        """(prompt, output) tokens by any live engine of the model; None: not to be had."""
        svc, kind = self.svc, ex.request.kind
        now = svc.loop.time()
        able = [b for b in route.candidates(svc.backends.values(), ex.want, now) if isinstance(b, Backend)]
        if backend in able:
            able.sort(key=lambda b: b is not backend)
        asks_prompt = kind in ("chat", "completions") or (
            kind == "responses" and resume.as_chat(ex.request) is not None
        )
        for one in able[:2]:
            try:
                output = await self._count(one, text, svc.own_name(ex.offer, one))
                prompt = ex.prompt_tokens
                if prompt is None and one.engine == "llama.cpp" and asks_prompt:
                    prompt = len(await self._prompt_tokens(ex, one))
            except (OSError, msgspec.DecodeError):
                continue
            return prompt, output
        return None, None

"""One request from admission to its last byte, over as many replicas as it takes.

The client sees one stream under one id. What it has been sent is kept as text; when the replica dies, goes silent or
is told to go dark, another one continues from exactly that text. What cannot be continued ends in an honest error and
an aborted connection, and what was delivered is billed. What an event means is said by `frames`, `answer` and
`failover`, from the request's state; this file does it, `moving` finds another replica, and `delivery` is what its
client sees of it. No tasks or futures stand on the usual path: each read of a socket ends in a write of the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Self

from tieline.gateway import errors
from tieline.gateway.budgets.admit import Admitted
from tieline.gateway.errors import Refusal
from tieline.gateway.requests import answer, blame, counting, delivery, failover, frames, hedge
from tieline.gateway.requests.answer import ClientFault, Elsewhere, Whole, Wrong
from tieline.gateway.requests.attempt import Attempt
from tieline.gateway.requests.blame import Strike
from tieline.gateway.requests.body import Request
from tieline.gateway.requests.continuity import resume, token_ids
from tieline.gateway.requests.continuity.moving import NOBODY, Moving
from tieline.gateway.requests.failover import Next, SilenceMeaning
from tieline.gateway.requests.ports import Client, ReplicaPool, Shared
from tieline.gateway.requests.state import Phase, RequestState
from tieline.gateway.routing import route
from tieline.gateway.routing.standing import BAD
from tieline.gateway.settings import ModelOffer
from tieline.gateway.wire import sse
from tieline.gateway.wire.http1 import ResponseHead
from tieline.gateway.wire.passthrough import PassthroughTemplate
from tieline.gateway.wire.upstream import HEALTH, Backend, answers

log = logging.getLogger("tieline.gateway")

# A finished answer whose connection has not ended by then is dropped.
LINGER_S: Final = 1.0


class Exchange(Moving):
    """A request in progress: its state, and the attempts that it holds on replicas."""

    @classmethod
    def of(
        cls, admitted: Admitted, request: Request, offer: ModelOffer, request_id: str, client: Client,
        pool: ReplicaPool, shared: Shared,
    ) -> Self:  # fmt: skip
        """Of a request that was admitted, to be begun."""
        ticket = admitted.ticket
        state = RequestState(
            request, offer, ticket.account, ticket, admitted.max_output, request_id, shared.now(), shared.memory
        )
        return cls(state, client, pool, shared)

    @property
    def binding(self) -> bool:
        """Does it hold a share of a budget, or the right to make a call that nobody else makes?"""
        return bool(self.state.account.budgets) or self.idempotency is not None

    # --- towards a replica ----------------------------------------------------------

    def begin(self) -> None:
        self.shared.live.add(self)
        refused, state = self.shared.refused, self.state
        if refused.deaths or refused.repeats:
            now, tenant = self.now(), state.want.tenant
            refusal = refused.refusal(state.request, now) or refused.repeated(state.request, tenant, now)
            if refusal is not None:
                self.refuse(refusal)
                return
        if self.shared.traces is not None:
            self.span = self.shared.traces.request(state, self.trace, self.shared.clock.now(), self.now())
            self.trace = self.trace if self.span is None else self.span.header
        backend = self.best(NOBODY)
        if backend is None:
            self.pool.wait(self)
        else:
            self.go(backend)

    def best(self, avoid: frozenset[str] | set[str]) -> Backend | None:
        """The best replica with room."""
        return route.choose(self.pool.replicas, self.state.want, self.now(), avoid)

    def place(self, avoid: frozenset[str]) -> None:
        """Send the request to the best replica with room, or wait for one."""
        pool, state = self.pool, self.state
        backend = self.best(avoid) or (self.best(NOBODY) if avoid else None)
        if backend is None and state.tries:  # it has lost a replica before its first token
            backend = pool.choose_at_all(state.want, avoid)
        if backend is not None:
            self.go(backend)
            return
        if state.phase is not Phase.QUEUED:
            state.turn(Phase.QUEUED)
        pool.wait(self)

    def go(self, backend: Backend) -> None:
        """Ask this replica for the whole answer."""
        state = self.state
        state.turn(Phase.CONNECTING)
        state.queued_until = None
        state.tries += 1
        if backend.included and backend.renter == state.want.tenant and not state.hops:
            state.offer = self.pool.included(state.offer)  # wherever it has to go on
        body = state.request.encode(backend.name_of(state.offer), state.limit)
        if state.request.continuity == "token":
            body = self._ask_for_ids(backend.engine, body)
        elif counting.by_frames(state.request, backend.engine):
            body = counting.ask_for_usage(body)
            state.usage_in_frames = state.renames = True  # which its client did not ask for
        self.attempt = self.ask(backend, resume.PATHS[state.request.kind], body)
        backend.remember(state.want.prefix)
        self.attempt.start(self.shared.settings.clocks.connect_s)

    def ask(self, backend: Backend, path: str, body: bytes) -> Attempt:
        state = self.state
        head = backend.head("POST", path, len(body), state.id, self.trace, state.request.content_type)
        return Attempt(self, backend, head + body)

    def _ask_for_ids(self, engine: str, body: bytes) -> bytes:
        """Ask this engine for token ids too, if a stream can go on from them."""
        state = self.state
        if not token_ids.possible(state.request, engine):
            state.ids = None
            return body
        state.ids = token_ids.Ids(state.request, engine)
        state.renames = True  # its frames hold what is not for the client, or not yet
        return state.ids.ask(body)

    # --- told by an attempt ------------------------------------------------------------

    def on_texts(self, template: PassthroughTemplate, texts: list[str], payloads: list[bytes]) -> None:
        """Several frames of nothing but text: passed on as they came, or with the bytes around the text exchanged."""
        for text in texts:
            self.state.keep(text)
        self.client.send(b"".join(payloads if template.same else [template.sent(one) for one in payloads]))

    def on_frames(self, attempt: Attempt, payloads: list[bytes]) -> None:
        state = self.state
        if state.done:
            return
        state.busy_since = state.adrift_since = None
        if self.second is not None:
            self.ahead(attempt)
        if state.paused and state.resumed:  # a new replica's connection does not know yet
            attempt.pause(True)
        if attempt is not self.attempt:
            return
        if state.phase is Phase.CONNECTING:
            state.turn(Phase.STREAMING)
        before, waits = attempt.tokens, state.first_token_at is None
        out, broken = frames.all_of(state, attempt, payloads)
        if attempt.tokens > before:
            self._token(attempt, first=waits)
        if out:
            state.opened = True
            self.send(out)
        if broken is not None:
            self._broken(attempt, broken)
        elif attempt.ended is None and state.finish is not None and state.tail:
            self.complete(attempt)

    def _broken(self, attempt: Attempt, error: frames.BrokenStreamError) -> None:
        """The engine said in its stream that it cannot; where the request is at fault, another would say the same."""
        refusal = answer.refused_in_stream(error.error)
        if refusal is not None and not self.state.delivered and self.second is None:
            self.end(attempt, "error")
            self.refuse(refusal)
            return
        words = self.state.words = answer.words_of(error.error)
        reason = f"{error}: {words}" if words else str(error)
        self.on_attempt_failed(attempt, "error", reason)

    def _token(self, attempt: Attempt, *, first: bool) -> None:
        """Text came, for the `first` time of this request or once more."""
        if first:
            took_s = attempt.last_at - attempt.started_at
            attempt.backend.first_token(attempt.last_at, took_s)
        if first or self.state.resumed:
            self.shared.slow.discard(self.state)

    def on_answer(self, attempt: Attempt, head: ResponseHead, body: bytes) -> None:
        state = self.state
        if state.done or attempt is not self.attempt:
            self.end(attempt, "error")
            return
        match answer.read(state, attempt, head, body):
            case Whole(whole):
                self._answered(attempt)
                self.end(attempt, state.finish or "stop")
                state.tail = whole
                state.turn(Phase.ENDING)
                if delivery.uncounted(state):
                    self.task = self.shared.spawn(self.count_whole(whole))
                else:
                    self.close()
            case Wrong(reason):
                self.on_attempt_failed(attempt, "error", reason)
            case ClientFault(refusal, well):
                self.end(attempt, "error")
                if well:
                    attempt.backend.succeeded(self.now(), state.want.tenant)
                if refusal.status in BAD:
                    self.shared.refused.bad(state.request, state.want.tenant, refusal, self.now())
                self.refuse(refusal)
            case Elsewhere() as said:
                self._elsewhere(attempt, said)

    def _elsewhere(self, attempt: Attempt, said: Elsewhere) -> None:
        """The engine is overloaded or broken, or the request is at fault: another one may say which."""
        state, backend, now = self.state, attempt.backend, self.now()
        self.end(attempt, "busy" if said.busy else "error")
        self.shared.stats.failures[backend.id, f"status {said.status}"] += 1
        state.words = said.words
        if said.busy:
            wait_s = min(answer.MAX_BUSY_S, state.retry_after_s or answer.BUSY_AGAIN_S)
            backend.refused_at = now
            backend.ejected_until = max(backend.ejected_until, now + wait_s)
            answer.busy(state, now)
        elif said.status >= 500 and self._asked_for_health(attempt, partial(self._failed_with, attempt, said)):
            return
        self._failed_with(attempt, said)

    def _failed_with(self, attempt: Attempt, said: Elsewhere) -> None:
        """By an answer, and the engine lives."""
        state, backend = self.state, attempt.backend
        if not said.busy:
            if said.status == 404 and state.request.model in backend.models and "model" in said.words.lower():
                backend.lacks.add(state.request.model)  # until it lists it again
                backend.models -= {state.request.model}
            if self._suspect(attempt, f"status {said.status}", said.words):
                return
        if state.delivered:
            self._go_on(attempt, f"status {said.status}")
        elif (refusal := answer.exhausted(state, said.status)) is not None:
            self.refuse(refusal)
        else:
            self.place(self._struck(backend.id))

    def _struck(self, last: str) -> frozenset[str]:
        """Replicas that it has failed at."""
        return frozenset((last, *(one.replica.id for one in self.state.strikes or ())))

    def _suspect(self, attempt: Attempt, kind: str, words: str) -> bool:
        """A failure that is the replica's or the request's own. True: it is the request's, and was refused."""
        state = self.state
        strike = Strike(attempt.backend, kind, words)
        strikes = state.strikes = state.strikes or []
        alone = self.shared.refused.standings.is_poor(state.want.tenant, self.now())
        if blame.alike(strikes, strike, alone=alone) and not state.delivered and kind not in answer.NOT_THE_REQUESTS:
            strikes.clear()
            refusal = blame.own_fault(strike)
            if kind == "status 404":
                refusal = Refusal(404, words or "no engine offers this", "engine_refused")
            elif refusal.status in BAD:
                self.shared.refused.bad(state.request, state.want.tenant, refusal, self.now())
            self.refuse(refusal)
            return True
        strikes.append(strike)
        return False

    def _answered(self, attempt: Attempt) -> None:
        """An answer came to its end: where it failed before, that was the replica's own failing."""
        state, now, tenant = self.state, self.now(), self.state.want.tenant
        attempt.backend.succeeded(now, tenant)
        if self.shared.refused.standings.counts:  # nearly always nobody has had a bad request
            self.shared.refused.standings.good(tenant)
        if not state.request.plain:
            self.shared.refused.answered(state.request)
        for strike in state.strikes or ():
            if strike.replica is not attempt.backend:
                strike.replica.blamed(now, tenant, state.id)

    def _died(self, attempt: Attempt) -> bool:
        """An engine died before it answered. True: on this request, as far as can be told, and it was refused; or
        whether that is so is being found out."""
        state, now, refused = self.state, self.now(), self.shared.refused
        share = self._share(attempt)
        state.deaths += share
        state.died_under += 1
        if state.delivered:
            return False
        if state.deaths >= blame.DEATHS:
            self.refuse(refused.met(state.request, state.want.tenant, state.deaths, now))
            return True
        if not self._may_be_why(attempt, share):
            return False
        state.turn(Phase.QUEUED)
        again = partial(self._go_on, attempt, "the connection was cut")
        self.task = self.shared.spawn(self._after_death(attempt, 0.0, again))
        return True

    def _may_be_why(self, attempt: Attempt, share: float) -> bool:
        """May its engine have died of this request, so that no second one is risked? `share`: of this death."""
        state, now = self.state, self.now()
        if state.died_under > 1 or self.shared.refused.risky(state.request, state.want.tenant, now):
            return True
        age_s = now - attempt.started_at
        return share == 1.0 and blame.hardly_chance(attempt.backend, self.pool.replicas, age_s, now)

    def _go_on(self, attempt: Attempt, reason: str) -> None:
        self._act(failover.go_on(self.state), attempt, reason)

    def _share(self, attempt: Attempt) -> float:
        """The part of this death that is this request's: of all that had no answer yet."""
        silent = [one for one in attempt.backend.live if isinstance(one, Attempt) and one.first_at is None]
        return self.shared.refused.share(attempt.backend.id, len(silent) + 1, self.now())

    def _asked_for_health(self, attempt: Attempt, again: Callable[[], None]) -> bool:
        """An engine says that it failed. Some say so of their own death, and then are gone: it is asked how it is
        before a second one is risked; `again`: what is done where it lives. False: it need not be asked."""
        state = self.state
        if state.delivered or self.second is not None or attempt.backend.engine not in HEALTH:
            return False
        share = self._share(attempt)
        state.turn(Phase.QUEUED)
        self.task = self.shared.spawn(self._after_death(attempt, share, again))
        return True

    async def _after_death(self, attempt: Attempt, share: float, again: Callable[[], None]) -> None:
        """It may be what the engine died of. If that is gone, no other one is risked; if only a connection was cut, or
        one answer went wrong, the request is asked `again`. `share`: of this death, where it is not counted yet."""
        backend = attempt.backend
        alive = await answers(backend, self.shared.settings.clocks.connect_s, healthy=share > 0.0)
        state, refused, tenant = self.state, self.shared.refused, self.state.want.tenant
        if state.done:
            return
        self.task = None
        if alive:
            again()
            return
        state.deaths += share
        if share > 0.0:
            state.died_under += 1
            backend.failed(self.now(), lost=True)
            if state.deaths < blame.DEATHS and not self._may_be_why(attempt, share):
                again()
                return
        self.refuse(refused.met(state.request, tenant, state.deaths, self.now()))

    def on_attempt_end(self, attempt: Attempt) -> None:
        """The answer ended as HTTP; without a finish before it, it was cut short."""
        state = self.state
        if state.done:
            return
        if attempt is self.attempt and attempt.parked is not None:
            self.stay()  # it was being moved away, and its end is among the frames that wait
        if attempt.ended is not None:
            return
        if attempt is self.attempt and state.finish is not None:
            self.complete(attempt)
        else:
            self.on_attempt_failed(attempt, "died", "the stream ended before it was finished")

    def on_attempt_failed(self, attempt: Attempt, ended: str, reason: str) -> None:
        """An attempt ended before its time."""
        state = self.state
        if attempt.ended is not None:
            return
        unheard = attempt.first_at is None
        self.end(attempt, ended)
        if state.done:
            return
        self.shared.stats.failures[attempt.backend.id, ended] += 1
        if ended != "error":
            attempt.backend.failed(self.now(), lost=True, refused=ended == "unreachable")
        log.info("attempt failed: request=%s replica=%s ended=%s: %s", state.id, attempt.backend.id, ended, reason)
        unanswered = attempt is self.attempt and self.second is None
        if unanswered and ended == "died" and unheard and self._died(attempt):
            return
        if not (
            unanswered
            and ended == "error"
            and self._asked_for_health(attempt, partial(self._lost, attempt, ended, reason))
        ):
            self._lost(attempt, ended, reason)

    def _lost(self, attempt: Attempt, ended: str, reason: str) -> None:
        """An attempt is lost: what becomes of the request."""
        state = self.state
        unanswered = attempt is self.attempt and self.second is None
        if unanswered and ended == "error" and self._suspect(attempt, ended, state.words):
            return
        decided = failover.lost(state, attempt, self.attempt, self.second)
        if ended == "stalled" and decided in (Next.SPLIT, Next.RESUME, Next.AGAIN, Next.GIVE_UP):
            self.shared.slow.add(state)
        self._act(decided, attempt, reason)

    def _act(self, decided: Next, attempt: Attempt, reason: str) -> None:
        """Carry out what becomes of the request."""
        state = self.state
        match decided:
            case Next.NOTHING:
                pass
            case Next.STAY:
                self.second = None
                self.stay()
            case Next.PROMOTE:
                self.attempt, self.second = self.second, None
                state.turn(Phase.CONNECTING)
            case Next.COMPLETE:
                self.complete(attempt)
            case Next.SPLIT:
                self.split()
            case Next.RESUME:
                self.take_over()
            case Next.AGAIN:
                state.names = state.names if state.opened else None
                self.place(self._struck(attempt.backend.id))
            case Next.GIVE_UP:
                self.refuse(errors.engine_error(502, f"no replica could answer: {reason}"))

    def pause(self, paused: bool) -> None:
        """The client's socket is full, or has room again."""
        self.state.paused = paused
        if self.attempt is not None:
            self.attempt.pause(paused)
            self.attempt.last_at = self.now()
        if self.group is not None:
            for part in self.group.live:
                part.pause(paused)

    # --- the end -------------------------------------------------------------------------

    def complete(self, attempt: Attempt) -> None:
        """All of the answer is here."""
        state = self.state
        if attempt.ended is None:
            self._answered(attempt)
            attempt.finish_quietly(state.finish or "stop")
            self._record(attempt, state.finish or "stop")
            connection = attempt.connection
            if connection is not None and connection.owner is attempt:  # the end of its HTTP may still come
                self.shared.lingering.append((self.now() + LINGER_S, attempt, connection))
            if self.pool.line.count:
                self.pool.pump()
        if delivery.uncounted(state):
            state.turn(Phase.ENDING)
            self.task = self.shared.spawn(self.count_then_end())
        else:
            self.end_stream()

    def refuse(self, refusal: Refusal) -> None:
        """An error answer, or the error that ends a stream which has begun; what was delivered is billed."""
        state = self.state
        if state.done:
            return
        state.finish = "error"
        if state.head_sent:
            self.client.send(refusal.frame())
            self.abandon(refusal.status)
            self.client.drop()
            return
        self.abandon(refusal.status)
        if self.idempotency is not None and not self.idempotency.done():
            self.idempotency.set_result((refusal.status, refusal.headers(), refusal.body()))
        self.client.answer(refusal.status, refusal.headers(), refusal.body())

    def cancel(self) -> None:
        """The client is gone: the engine stops now."""
        if self.state.done:
            return
        self.state.finish = "cancelled"
        if self.idempotency is not None and not self.idempotency.done():
            self.idempotency.cancel()
        self.abandon(499)

    def abandon(self, status: int) -> None:
        """Stop all attempts and bill what was delivered, counting it if the engine did not."""
        state = self.state
        state.status = status
        self.pool.leave(self)
        state.turn(Phase.DONE)
        task, self.task = self.task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        backend = self.attempt.backend if self.attempt is not None else None
        for attempt in (self.attempt, self.second):
            if attempt is not None:
                self.end(attempt, state.finish or "error")
        if self.group is not None:  # each part counts what it delivered, then all is billed
            for part in list(self.group.live):
                part.cancel()
            return
        if state.output_tokens is None and state.tokens:
            self.shared.spawn(self.count_then_bill(backend))
        else:
            if state.output_tokens is None:
                state.output_tokens = 0
                state.prompt_tokens = state.prompt_tokens if state.tokens else 0
            self.bill()

    def gone(self) -> None:
        # An attempt knows its request: without this cycle memory returns at once, not at a collection.
        self.attempt = None
        self.shared.live.discard(self)
        self.shared.slow.discard(self.state)
        self.group = None
        self.state.forget()

    def end(self, attempt: Attempt, ended: str) -> None:
        if attempt.ended is None:
            attempt.leave(ended)
            self._record(attempt, ended)
            if self.pool.line.count:
                self.pool.pump()

    def _record(self, attempt: Attempt, ended: str) -> None:
        state = self.state
        known, hops = None, state.hops
        if state.output_tokens is not None and ended not in ("hedged", "busy", "unreachable"):
            known = state.output_tokens
            if hops:
                known = max(0, known - sum(hop.output_tokens for hop in hops))
        hop = attempt.hop(ended, known)
        hops.append(hop)
        if self.span is not None:
            self.span.hop(hop, len(hops), attempt.started_at, self.now())

    # --- time ------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Ten times a second: the clocks of this request."""
        state, clocks = self.state, self.shared.settings.clocks
        if state.done:
            return
        if now - state.began > clocks.total_s:
            self.refuse(Refusal(504, "the request took longer than the gateway allows", "timeout"))
            return
        second = self.second
        if second is not None and not second.hedges and now - second.started_at > clocks.resume_s:
            self.on_attempt_failed(second, "stalled", "the move took too long")
        attempt = self.attempt
        if attempt is not None and self._left(attempt, now):
            self.on_attempt_failed(attempt, "stalled", f"silent for {now - attempt.last_at:.1f} s")
        elif state.request.stream:
            self._tick_stream(attempt, now, clocks.keep_alive_s)

    def _tick_stream(self, attempt: Attempt | None, now: float, keep_alive_s: float) -> None:
        state = self.state
        if attempt is not None and self.shared.hedges.saved >= 1.0 and hedge.due(state, attempt, now):
            self.hedge(attempt)
        if not state.paused and state.index is None and now - self._sent_at() >= keep_alive_s:
            self.send(sse.KEEP_ALIVE)
        if state.tokens and now - state.last_progress >= 1.0:
            state.last_progress = now
            self.meter.note(state, now)

    def _sent_at(self) -> float:
        """When the client was last sent anything; a frame that is passed on unread is not noted by itself."""
        sent_at, attempt = self.state.last_sent, self.attempt
        if attempt is None or attempt.parked is not None or attempt.replay is not None or not self.state.tokens:
            return sent_at
        return max(sent_at, attempt.last_at)

    def _left(self, attempt: Attempt, now: float) -> bool:
        """Is this attempt silent for so long that it is left?"""
        match failover.silence(self.state, attempt, now, self.shared.settings.clocks):
            case SilenceMeaning.NONE:
                return False
            case SilenceMeaning.LOST:
                return True
            case SilenceMeaning.LATE:
                state = self.state
                return (
                    self.shared.may_leave(state)
                    and self.pool.choose_at_all(state.want, {attempt.backend.id}) is not None
                )

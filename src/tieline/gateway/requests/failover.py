"""Death, silence and notice: a stream leaves its replica and goes on elsewhere, or ends in an honest error.

Works on an Exchange. How a stream can go on is `resume`'s; the engine calls are the service's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from tieline.gateway import errors
from tieline.gateway.errors import Refusal
from tieline.gateway.requests import choices as parts
from tieline.gateway.requests import chunks as pieces
from tieline.gateway.requests import finish as ending
from tieline.gateway.requests import resume
from tieline.gateway.requests.attempt import Leg
from tieline.gateway.requests.resume import Way
from tieline.gateway.requests.resume_calls import CannotContinueError
from tieline.gateway.routing import route
from tieline.gateway.wire.upstream import Backend

if TYPE_CHECKING:
    from tieline.gateway.requests.exchange import Exchange

# One request visits at most this many replicas; a request that kills each of them is itself the cause.
MAX_HOPS: Final = 8
# Hops that took nothing on, and so are bounded by time instead.
_UNSERVED: Final = ("busy", "unreachable")
# Attempts before the first token.
MAX_TRIES: Final = 3
# How often a resume looks again for a replica with room.
LOOK_AGAIN_S: Final = 0.05
# A move that has not begun by then is given up; the old replica goes on.
MOVE_S: Final = 5.0


def on_leg_failed(ex: Exchange, leg: Leg, ended: str, reason: str) -> None:
    """A leg ended before its time."""
    if leg.ended is not None:
        return
    ex.end_leg(leg, ended)
    if ex.done:
        return
    leg.backend.failed(ex.now(), lost=ended != "error", refused=ended == "unreachable")
    ex.svc.stats.failures[leg.backend.id, ended] += 1
    ex.svc.log.info("leg failed: request=%s replica=%s ended=%s: %s", ex.id, leg.backend.id, ended, reason)
    if leg is ex.moving:
        ex.moving, ex.hedging = None, False
        _unpark(ex)
        return
    if leg is not ex.leg:
        return
    if ex.moving is not None:  # it died while being moved away: the other one already continues
        ex.leg, ex.moving, ex.hedging = ex.moving, None, False
        return
    if ex.resuming:
        return
    if ex.finish is not None and ex.finishes >= ex.request.answers:
        ending.complete(ex, leg)
        return
    if ex.shape is not None and ex.delivered:
        ex.shape.rewind(len(ex.held))
    else:
        ex.shape = None
    ex.held.clear()
    ex.hold = ex.request.kind == "responses"
    ex.finish, ex.finishes = None, 0
    if ex.ids is not None:
        ex.ids.lost()
    if ended == "stalled":
        ex.svc.slow.add(ex)
    go_on(ex, reason)


def go_on(ex: Exchange, reason: str) -> None:
    """The one replica is lost: on another, from what was delivered; or the request again, if nothing was."""
    if ex.answers is not None and ex.answers.texts and not ex.unkept:
        for part in parts.split(ex):
            ex.svc.exchanges.add(part)
            if part.delivered:
                take_over(part)
            else:
                part.place(frozenset())
    elif ex.delivered:
        take_over(ex)
    elif ex.tries < MAX_TRIES:
        ex.names = ex.names if ex.opened else None
        ex.place(frozenset((ex.leg.backend.id,)) if ex.leg is not None else frozenset())
    else:
        ex.refuse(errors.engine_error(502, f"no replica could answer: {reason}"))


def take_over(ex: Exchange) -> None:
    now = ex.now()
    if ex.stuck or sum(hop.ended not in _UNSERVED for hop in ex.hops) >= MAX_HOPS:
        _give_up(ex, "the replica serving this stream was lost and the stream cannot be continued")
        return
    ex.adrift_since = now if ex.adrift_since is None else ex.adrift_since
    if now - ex.adrift_since > ex.svc.settings.clocks.resume_s:
        _give_up(ex, "no replica could continue this stream in time")
        return
    ex.resuming = ex.resumed = True
    ex.task = ex.svc.spawn(_search(ex))


async def _search(ex: Exchange) -> None:
    """Find a replica and continue there, within the resume clock."""
    svc = ex.svc
    assert ex.adrift_since is not None
    deadline = ex.adrift_since + svc.settings.clocks.resume_s
    avoid: set[str] = {ex.leg.backend.id} if ex.leg is not None else set()
    unable: dict[str, str] = {}  # replica: why not there
    svc.failovers.add(ex)
    try:
        while not ex.done:
            if ex.now() >= deadline:
                _give_up(ex, "no replica could continue this stream in time")
                return
            if svc.may_fail_over(ex):
                backend = svc.choose_at_all(ex.want, avoid | unable.keys()) or svc.choose_at_all(ex.want, set(unable))
                if backend is not None:
                    try:
                        if await _continue_on(ex, backend, deadline - ex.now()):
                            return
                    except CannotContinueError as error:
                        unable[backend.id] = str(error)
                        continue
                    avoid = {backend.id}
                elif unable and all(one.id in unable for one in svc.serving(ex.want)):
                    _give_up(ex, "this stream cannot be continued: " + "; ".join(sorted(set(unable.values()))))
                    return
            await asyncio.sleep(LOOK_AGAIN_S)
    finally:
        svc.failovers.discard(ex)
        ex.resuming = False


async def _continue_on(ex: Exchange, backend: Backend, left_s: float, *, moving: bool = False) -> bool:
    """Start a leg on `backend` from the text delivered so far. False: it could not. Raises CannotContinueError."""
    try:
        async with asyncio.timeout(left_s):
            leg = await ex.svc.continuing.leg(ex, backend, ex.text)
    except (OSError, TimeoutError, msgspec.DecodeError) as error:
        backend.failed(ex.now(), lost=True, refused=isinstance(error, OSError))
        ex.svc.log.info("resume failed: request=%s replica=%s: %s", ex.id, backend.id, error)
        return False
    if ex.done:
        return True
    if leg is None:  # nothing is left to generate
        _finish_at_limit(ex)
        return True
    if moving:
        ex.moving = leg
    else:
        ex.leg = leg
        ex.resuming = False
    leg.start(ex.svc.settings.clocks.connect_s)
    return True


def _finish_at_limit(ex: Exchange) -> None:
    if ex.request.kind == "responses":
        ex.finish = "incomplete"
    else:
        ex.finish = "length"
        ex.send(pieces.frame(ex.public_names(), ex.request.kind, None, "length", index=ex.index or 0))
    leg = ex.leg
    if leg is None:
        ending.end_stream(ex)
    else:
        ending.complete(ex, leg)


def stalled(ex: Exchange, now: float) -> bool:
    """Silence that is not the client's doing, on a stream that somebody else could continue."""
    leg = ex.leg
    if leg is None or leg.ended is not None or ex.paused or ex.resuming:
        return False
    if ex.moving is not None and not ex.hedging:
        return False
    clocks = ex.svc.settings.clocks
    silence = now - leg.last_at
    if leg.first_at is None and not leg.backend.suspect(now):
        return silence > (clocks.resume_s if ex.delivered else clocks.first_token_s)
    if silence > clocks.idle_s:
        return True
    if leg.streaming:  # one that still flows is not held up by its site's missing heartbeats
        late = silence > max(clocks.stall_floor_s, 5.0 * leg.gap_s)
        late = late or (silence > route.BEAT_S and leg.backend.late(now))
    else:
        late = leg.backend.suspect(now)
    return (
        late
        and not ex.stuck
        and ex.svc.may_leave(ex)
        and (not ex.delivered or resume.holds(ex.request, leg.backend.engine, ids=ex.exact) != "regenerate")
        and ex.svc.choose_at_all(ex.want, {leg.backend.id}) is not None
    )


def move(ex: Exchange) -> None:
    """The replica was told to go dark: start the stream elsewhere, then leave."""
    leg = ex.leg
    if (
        ex.done or leg is None or leg.ended is not None or ex.resuming or ex.moving is not None or ex.held
        or not leg.streaming or not ex.texts or ex.stuck or ex.hold or ex.finish is not None
    ):  # fmt: skip
        return
    backend = ex.svc.choose(ex.want, {leg.backend.id})
    if backend is None or resume.way(ex.request, backend.engine, "x", ids=ex.exact) is Way.NONE:
        return
    leg.parked = []
    ex.resumed = True
    ex.task = ex.svc.spawn(_move_to(ex, backend))


async def _move_to(ex: Exchange, backend: Backend) -> None:
    try:
        if not await _continue_on(ex, backend, MOVE_S, moving=True):
            _unpark(ex)
    except CannotContinueError as error:
        ex.svc.log.info("not moved: request=%s replica=%s: %s", ex.id, backend.id, error)
        _unpark(ex)


def switch(ex: Exchange, leg: Leg) -> None:
    """The new replica's first frame is here: the old one may stop."""
    old, ex.leg, ex.moving = ex.leg, leg, None
    if old is not None:
        ex.end_leg(old, "hedged" if ex.hedging else "moved")
    ex.hedging = False


def _unpark(ex: Exchange) -> None:
    """The move failed; the old replica's frames go on where they were held."""
    leg = ex.leg
    if leg is None or leg.parked is None:
        return
    frames, leg.parked = leg.parked, None
    if leg.ended is None:
        ex.on_frames(leg, frames)
    elif not ex.done:
        go_on(ex, "its replica was lost while it was being moved")


def _give_up(ex: Exchange, why: str) -> None:
    ex.refuse(Refusal(502, why, "stream_interrupted", type="server_error"))

"""Death, silence and notice: what becomes of a request whose replica is lost, late or told to go dark. Pure.

How a stream can go on is `resume`'s; an Exchange carries out what is decided here.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from tieline.gateway.requests.attempt import Attempt
from tieline.gateway.requests.continuity.resume import Way
from tieline.gateway.requests.state import Phase, RequestState
from tieline.gateway.routing import route
from tieline.gateway.settings import Clocks

# One request visits at most this many replicas; a request that kills each of them is itself the cause.
MAX_HOPS: Final = 8
# Hops that took nothing on, and so are bounded by time instead.
_UNSERVED: Final = ("busy", "unreachable")
# Ways that may end in an error: a replica that is only slow, or has notice, is not left for them.
_UNSURE: Final = (Way.NONE, Way.REPLAY)
# Attempts before the first token.
MAX_TRIES: Final = 3
# How often a resume looks again for a replica with room.
LOOK_AGAIN_S: Final = 0.05
# A move that has not begun by then is given up; the old replica goes on.
MOVE_S: Final = 5.0


class Next(Enum):
    """What becomes of a request after an attempt was lost."""

    NOTHING = "nothing"  # it was not the one that counts
    STAY = "stay"  # the second attempt is lost: the first goes on
    PROMOTE = "promote"  # the first is lost: the second goes on
    COMPLETE = "complete"  # nothing was missing but the end of the answer
    SPLIT = "split"  # each unfinished choice goes on by itself
    RESUME = "resume"  # on another replica, from what was delivered
    AGAIN = "again"  # the same request on another replica: nothing was delivered
    GIVE_UP = "give up"


def lost(state: RequestState, attempt: Attempt, current: Attempt | None, second: Attempt | None) -> Next:
    """`current` and `second`: the attempts of the request, of which `attempt` is lost."""
    if attempt is second:
        return Next.STAY
    if attempt is not current or state.phase is Phase.RESUMING:
        return Next.NOTHING
    if second is not None:
        return Next.PROMOTE
    if state.finish is not None and state.finishes >= state.request.answers:
        return Next.COMPLETE
    _rewind(state)
    return go_on(state)


def _rewind(state: RequestState) -> None:
    """What came and was not delivered never came."""
    state.finish, state.finishes, state.stopped = None, 0, None
    if state.usage_in_frames:  # of the one that is lost: what goes on says what was used in all
        state.output_tokens = state.prompt_tokens = None
    if state.ids is not None:
        state.ids.lost()


def go_on(state: RequestState) -> Next:
    """The one replica is lost: on another, from what was delivered; or the request again, if nothing was."""
    if state.choices is not None and state.choices.texts and not state.unkept and state.specials is None:
        return Next.SPLIT
    if state.delivered:
        return Next.RESUME
    return Next.AGAIN if state.tries < MAX_TRIES else Next.GIVE_UP


def hopeless(state: RequestState, now: float, resume_s: float) -> str | None:
    """Why a stream that was delivered in part is not looked after any more; None: it is. Starts the clock of
    the search."""
    if state.unkept or sum(hop.ended not in _UNSERVED for hop in state.hops) >= MAX_HOPS:
        return "the replica serving this stream was lost and the stream cannot be continued"
    state.adrift_since = now if state.adrift_since is None else state.adrift_since
    if now - state.adrift_since > resume_s:
        return "no replica could continue this stream in time"
    return None


class SilenceMeaning(Enum):
    """What the silence of an attempt means."""

    NONE = "none"
    LATE = "late"  # leave it, if another replica can take the stream
    LOST = "lost"


def silence(state: RequestState, attempt: Attempt | None, now: float, clocks: Clocks) -> SilenceMeaning:
    """Silence that is not the client's doing."""
    if (
        attempt is None or attempt.ended is not None or attempt.parked is not None or state.paused
        or state.phase not in (Phase.CONNECTING, Phase.STREAMING, Phase.MOVING)
    ):  # fmt: skip
        return SilenceMeaning.NONE
    quiet_s = now - attempt.last_at
    if attempt.first_at is None and not attempt.backend.suspect(now):
        limit_s = clocks.resume_s if state.delivered else clocks.first_token_s
        return SilenceMeaning.LOST if quiet_s > limit_s else SilenceMeaning.NONE
    if quiet_s > clocks.idle_s:
        return SilenceMeaning.LOST
    if not _late(attempt, quiet_s, now, clocks) or not _may_leave(state, attempt):
        return SilenceMeaning.NONE
    return SilenceMeaning.LATE


def _may_leave(state: RequestState, attempt: Attempt) -> bool:
    """Can what is only slow be left without risking an error?"""
    if state.unkept:
        return False
    if not state.delivered:  # the last of its tries: all are slow, or their parsers hold a call, and it may yet come
        return state.tries < MAX_TRIES
    return state.way(attempt.backend.engine) not in _UNSURE


def _late(attempt: Attempt, quiet_s: float, now: float, clocks: Clocks) -> bool:
    """Longer than this stream's own pace, or than its site's heartbeats, would have it."""
    if not attempt.streaming:
        return attempt.backend.suspect(now)
    # One that still flows is not held up by its site's missing heartbeats.
    if quiet_s > max(clocks.stall_floor_s, 5.0 * attempt.gap_s):
        return True
    return quiet_s > route.BEAT_S and attempt.backend.late(now)


def may_move(state: RequestState, attempt: Attempt) -> bool:
    """Can this stream leave a replica that was told to go dark, now?"""
    return (
        state.phase is Phase.STREAMING and attempt.ended is None and attempt.streaming and bool(state.texts)
        and not state.unkept and state.finish is None
    )  # fmt: skip


def can_go_on(state: RequestState, engine: str) -> bool:
    """Can a stream go on, without a doubt, on an engine of this kind?"""
    return state.way(engine) not in _UNSURE

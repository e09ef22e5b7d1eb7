"""What serves tokens and what was consumed of them: replicas, usage, rented replicas, batch work still owed."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tieline.intake import (
    Count,
    Id,
    IntervalSeconds,
    Label,
    Milliseconds,
    Moment,
    Money,
    NanoUsd,
    Rate,
    Small,
    Status,
    Text,
    Word,
)
from tieline.records.base import OBSERVED, REVISED, Record, RecordPart


class Owed(RecordPart, frozen=True, kw_only=True):
    """Output tokens that must be made by `due`."""

    due: Moment
    output_tokens: Rate


class Backlog(Record, frozen=True, kw_only=True, subject="{gateway}|{model}", key=REVISED, reach=OBSERVED):
    """Batch work of one model that a gateway has taken on and not carried out yet, by deadline. Each record
    replaces the one before; with no lots nothing is owed any more. It may run in any region. `day_tokens`: taken
    on within the last day, which is what the next one may bring."""

    gateway: Label
    model: Label
    lots: Annotated[tuple[Owed, ...], Meta(max_length=10_000)] = ()
    day_tokens: Rate = 0.0


class ReplicaState(
    Record, frozen=True, kw_only=True, subject="{replica_id}", key="{replica_id}|{known_at}|{state}", reach=OBSERVED
):
    """A running model server, as its site's agent sees it."""

    replica_id: Id
    site_id: Word
    region: Label
    model: Label
    base_url: Label
    state: Literal["starting", "ready", "draining", "down"]
    slots: Small = 1
    engine: Label = "llama.cpp"
    label: Label = ""
    detail: Text = ""
    context_tokens: Count | None = None


class Hop(RecordPart, frozen=True, kw_only=True):
    """One replica's part of a request; `region`: where it stood, as its site said."""

    replica_id: Label
    site_id: Label
    output_tokens: Count
    ended: Label  # stop | length | died | stalled | moved | cancelled | error
    prompt_tokens: Count = 0
    first_token_ms: Milliseconds | None = None
    total_ms: Milliseconds | None = None
    region: Label = ""


class Usage(Record, frozen=True, kw_only=True, subject="{tenant}", key="{request_id}", reach=OBSERVED):
    """What one request consumed: the prompt once, each delivered token once, however many hops it took.

    Costs are integer nano-dollars (1e-9 USD); rounding happens once per invoice line. `estimated` says that
    the engine reported no usage and the tokens were counted here. `user` and `tags` are what the request says of itself
    (`user` or `safety_identifier`, and `metadata`), where it is short and prints; a longer `user` is its SHA-256.
    What is metered in another `unit` than tokens ("character", "second", "image") has `units` of it, and no tokens.
    `region`: where the gateway stood that served it, empty where it was not told; hops of another one crossed over.
    """

    request_id: Label
    tenant: Label
    project: Label
    key_id: Label
    model: Label
    endpoint: Label
    status: Status
    prompt_tokens: Count
    output_tokens: Count
    cached_tokens: Count = 0
    cost_nano_usd: NanoUsd = 0
    estimated: bool = False
    streamed: bool = False
    finish: Label = ""
    hops: tuple[Hop, ...] = ()
    first_token_ms: Milliseconds | None = None
    total_ms: Milliseconds | None = None
    user: Text = ""
    tags: dict[Text, Text] = msgspec.field(default_factory=dict)
    unit: Label = ""
    units: Count = 0
    region: Label = ""


class Reserved(
    Record,
    frozen=True,
    kw_only=True,
    subject="{tenant}",
    key="{tenant}|{model}|{region}|{rented_since}|{at}",
    reach=OBSERVED,
):
    """Replicas that a tenant rented over [at, at + length) and what it owes for those it had.

    `provided_s` is replica-seconds measured at the gateway: a replica that went dark and was not replaced is not
    charged. One record per rental and hour, whoever tells it.
    """

    tenant: Label
    model: Label
    region: Label
    rented_since: Moment
    replicas: Small
    provided_s: Count
    usd_per_replica_hour: Money
    cost_nano_usd: NanoUsd
    length_s: IntervalSeconds = 3600


class DoorRefusals(
    Record,
    frozen=True,
    kw_only=True,
    subject="{tenant}",
    key="{tenant}|{code}|{at}|{door}|{part}",
    reach=OBSERVED,
):
    """Requests that a gateway's process refused before it took them, so that no `Usage` speaks of them: how many of a
    tenant, for one reason, in the hour from `at`, that it has not told before.

    `code` is the error's, as the client got it. `tenant` is "(nobody)" where the key that was shown is nobody's, and
    "(others)" beyond the names that a process keeps. `door`: one life of one process; `part`: of what it told.
    """

    tenant: Label
    code: Word
    count: Count
    door: Word
    part: Count
    length_s: IntervalSeconds = 3600


# Those that are stored and travel.
InferenceRecord = Backlog | ReplicaState | Usage | Reserved | DoorRefusals

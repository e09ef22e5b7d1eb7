"""What the gateway is told: doors, models with tariffs, tenants with keys and limits, engines.

Frozen structs that refuse unknown fields; `tieline.config` builds them for the platform, `load` reads them from
a TOML file when the gateway stands alone. Secrets are hashes or the names of environment variables.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import tomllib
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from tieline.intake import NAME

NANO_PER_USD = 1_000_000_000


# How much a tenant minds delay: seconds that it may cost to be served where power is cheap and not dear.
Patience = Literal["interactive", "standard", "batch"]
PATIENCE_S: Final[dict[Patience, float]] = {"interactive": 0.02, "standard": 0.2, "batch": 5.0}


# A user calls models; billing reads what was used, and no more; an admin does all of it, and is kept a record of.
Role = Literal["user", "billing", "admin"]


# What a model is metered in that is not metered in tokens: characters of a text that is spoken, begun seconds of a
# recording, pictures that were made.
Unit = Literal["", "character", "second", "image"]
_PER_MTOK: Final = ("input_usd_per_mtok", "output_usd_per_mtok", "cached_usd_per_mtok")


# More than any budget, price or count is; what is above it is a slip, and would not fit a 64-bit sum of nano-dollars.
MAX_USD: Final = Decimal(10**9)
MAX_COUNT: Final = 10**12


class SettingsError(ValueError):
    """A setting that cannot be; names the field and the fix."""


def check_id(what: str, text: str) -> None:
    """Raises ValueError."""
    if NAME.fullmatch(text) is None:
        raise ValueError(f"{what} {text[:80]!r}: an id has 1 to 64 letters, digits, '-', '_' or '.'")


def _check_usd(name: str, value: Decimal | None, per_usd: int) -> None:
    """An amount of whole parts of a dollar, finite and bounded. Raises ValueError."""
    if value is None:
        return
    if not value.is_finite() or not 0 <= value <= MAX_USD:
        raise ValueError(f"{name} must be 0 or more, and at most {MAX_USD} USD")
    if value * per_usd % 1:
        raise ValueError(f"{name} must be a whole number of {1 / Decimal(per_usd):f} USD")


def _check_range(name: str, value: float | None, least: float, most: float) -> None:
    """Raises ValueError, for what is no number too."""
    if value is not None and not least <= value <= most:
        raise ValueError(f"{name} must be between {least:g} and {most:g}")


def _check_zone(name: str, value: datetime | None) -> None:
    if value is not None and value.tzinfo is None:
        raise ValueError(f"{name} must be a time with its zone, such as 2027-01-01T00:00:00Z")


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None: not limited. A budget runs per calendar month (UTC) unless `budget_period` says otherwise."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None
    budget_usd: Decimal | None = None
    budget_period: Literal["month", "day", "total"] = "month"

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= MAX_COUNT:
                raise ValueError(f"{name} must be 1 or more, and at most {MAX_COUNT}; leave it out for no limit")
        _check_usd("budget_usd", self.budget_usd, NANO_PER_USD)

    @property
    def budget_nano_usd(self) -> int | None:
        return None if self.budget_usd is None else int(self.budget_usd * NANO_PER_USD)


class Project(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        check_id("project", self.id)


class Tenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer. `weight` is its share when there is not enough for all; `regions` where its requests may be
    served (empty: anywhere); `max_usd_per_mtok` what power may cost where they are, per million tokens."""

    id: str
    limits: Limits = Limits()
    projects: tuple[Project, ...] = ()
    weight: float = 1.0
    latency_class: Patience = "standard"
    regions: tuple[str, ...] = ()
    max_usd_per_mtok: float | None = None
    disabled: bool = False  # its keys are refused, what runs goes on

    def __post_init__(self) -> None:
        check_id("tenant", self.id)
        if not 0 < self.weight <= 1e6:
            raise ValueError("weight must be above 0, and at most 1000000")
        if self.max_usd_per_mtok is not None and not 0 < self.max_usd_per_mtok < math.inf:
            raise ValueError("max_usd_per_mtok must be above 0; leave it out for no ceiling")


class RentedReplicas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replicas that a tenant rents for a period; an empty region is any. With a tariff, what its requests use on
    them is included."""

    tenant: str
    model: str
    replicas: int
    since: datetime
    until: datetime
    region: str = ""
    usd_per_replica_hour: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        _check_range("replicas", self.replicas, 1, 1e6)
        _check_usd("usd_per_replica_hour", self.usd_per_replica_hour, NANO_PER_USD)
        if self.since.tzinfo is None or self.until.tzinfo is None or self.since >= self.until:
            raise ValueError("since and until must be times with their zone, since before until")


class Former(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret that a key had before it was given a new one, valid until a moment."""

    sha256: str
    until: datetime

    def __post_init__(self) -> None:
        _check_digest(self.sha256)
        _check_zone("until", self.until)


def _check_digest(sha256: str) -> None:
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError("sha256 must be 64 lower-case hex digits; `tieline gateway --hash-key` makes them")


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An API key, by its SHA-256 only. Empty `models`, `regions` or `networks`: all of them."""

    id: str
    sha256: str
    tenant: str
    project: str = "default"
    models: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    expires: datetime | None = None
    role: Role = "user"
    limits: Limits = Limits()
    former: tuple[Former, ...] = ()

    def __post_init__(self) -> None:
        check_id("key", self.id)
        check_id("project", self.project)
        _check_zone("expires", self.expires)
        _check_digest(self.sha256)
        for network in self.networks:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError as error:
                raise ValueError(f"networks: {error}") from error


class ImageRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many tokens a model makes of an image at most; see `images` for rules and their sources."""

    size: int  # pixels on a patch's or tile's side
    per: int = 1
    row: int = 0
    base: int = 0
    least: int = 0
    most: int

    def __post_init__(self) -> None:
        if self.size < 1 or self.per < 1 or min(self.row, self.base, self.least) < 0:
            raise ValueError("an image rule needs size and per of 1 or more, and nothing below 0")
        if self.most < max(1, self.least):
            raise ValueError("an image rule's most must be 1 or more, and not below least")


class Tariff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model costs from a moment on: requests that are admitted then or later. By tokens, or by its unit."""

    since: datetime
    input_usd_per_mtok: Decimal | None = None
    output_usd_per_mtok: Decimal | None = None
    cached_usd_per_mtok: Decimal | None = None
    usd_per_unit: Decimal | None = None

    def __post_init__(self) -> None:
        _check_zone("since", self.since)
        for name in _PER_MTOK:
            _check_usd(name, getattr(self, name), 1000)
        _check_usd("usd_per_unit", self.usd_per_unit, NANO_PER_USD)
        tokens = self.input_usd_per_mtok is not None, self.output_usd_per_mtok is not None
        if all(tokens) if self.usd_per_unit is None else not any((*tokens, self.cached_usd_per_mtok is not None)):
            return
        raise ValueError("a tariff needs input_usd_per_mtok and output_usd_per_mtok, or usd_per_unit alone")


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model on offer. Tariffs are USD per million tokens in steps of 0.001, so that one token costs a whole
    number of nano-dollars and nothing is ever rounded but an invoice line."""

    name: str
    upstream_name: str | None = None
    input_usd_per_mtok: Decimal = Decimal(0)
    output_usd_per_mtok: Decimal = Decimal(0)
    cached_usd_per_mtok: Decimal | None = None
    max_output_tokens: int = 1024  # given to a request that asks for no limit
    template_tokens: int = 64  # the chat template's constant in a prompt's bound
    image_tokens: int = 1_536  # the most per image where there is no rule
    image: ImageRule | None = None
    label: str = ""
    aliases: tuple[str, ...] = ()  # other names that it may be asked for under
    fallbacks: tuple[str, ...] = ()  # models that answer, at their own tariff, while no replica of this one can
    tariffs: tuple[Tariff, ...] = ()  # instead of the prices above, each from its moment on
    fields: tuple[str, ...] = ()  # further fields of a request that reach its engines
    media: tuple[str, ...] = ()  # beginnings of addresses that they may fetch, beside public https names
    unit: Unit = ""  # what it is metered in, where not in tokens: /v1/audio and /v1/images
    usd_per_unit: Decimal | None = None  # steps of 0.000000001

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= 256 or any(not 1 <= len(name) <= 256 for name in self.aliases):
            raise ValueError("a model's name and aliases have 1 to 256 characters")
        if len({tariff.since for tariff in self.tariffs}) < len(self.tariffs):
            raise ValueError(f"model {self.name!r} has two tariffs from the same moment on")
        for name in _PER_MTOK:
            _check_usd(name, getattr(self, name), 1000)
        _check_usd("usd_per_unit", self.usd_per_unit, NANO_PER_USD)
        self._check_unit()
        for name in ("max_output_tokens", "template_tokens", "image_tokens"):
            _check_range(name, getattr(self, name), 1 if name == "max_output_tokens" else 0, 1e9)

    def _check_unit(self) -> None:
        """One that is metered by a unit has prices of that alone, and one by tokens none of it. Raises ValueError."""
        by_tokens = [name for name in _PER_MTOK if getattr(self, name)]
        if self.unit and by_tokens:
            raise ValueError(f"model {self.name!r} is metered by the {self.unit}; leave out {by_tokens[0]}")
        if not self.unit and self.usd_per_unit is not None:
            raise ValueError(f"model {self.name!r} has usd_per_unit; say of which unit: character, second or image")
        if any((tariff.usd_per_unit is None) is bool(self.unit) for tariff in self.tariffs):
            wanted = "usd_per_unit" if self.unit else "input_usd_per_mtok and output_usd_per_mtok"
            raise ValueError(f"model {self.name!r}: each of its tariffs needs {wanted}")


@dataclass(frozen=True, slots=True)
class ModelOffer:
    """A model as requests meet it: its tariff in whole nano-dollars per token, or per `unit` instead; a unit stands
    where a prompt's token does."""

    name: str
    own_name: str  # what engines call it, where they do not say otherwise
    input_nano: int
    output_nano: int
    cached_nano: int
    max_output_tokens: int
    template_tokens: int
    image_tokens: int
    label: str
    image: ImageRule | None = None
    fallbacks: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    unit: Unit = ""

    @classmethod
    def of(cls, model: Model, now: datetime | None = None) -> ModelOffer:
        """At the tariff of that moment; None: at the prices that have no date."""
        price: Model | Tariff = model
        for tariff in sorted(model.tariffs, key=lambda one: one.since):
            if now is not None and tariff.since <= now:
                price = tariff
        input_nano, output_nano = (
            int((price.input_usd_per_mtok or 0) * 1000),
            int((price.output_usd_per_mtok or 0) * 1000),
        )
        cached_nano = input_nano if price.cached_usd_per_mtok is None else int(price.cached_usd_per_mtok * 1000)
        if model.unit:
            input_nano = cached_nano = int((price.usd_per_unit or 0) * NANO_PER_USD)
        return cls(
            model.name,
            model.upstream_name or model.name,
            input_nano,
            output_nano,
            cached_nano,
            model.max_output_tokens,
            model.template_tokens,
            model.image_tokens,
            model.label,
            model.image,
            model.fallbacks,
            model.fields,
            model.media,
            model.unit,
        )


EngineKind = Literal["", "llama.cpp", "vllm", "sglang", "other"]
ENGINE_KINDS: dict[str, EngineKind] = {kind: kind for kind in get_args(EngineKind)}


class Engine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OpenAI-compatible server given by its address. `slots` None: as many as MAX_UNKNOWN_SLOTS."""

    url: str
    id: str = ""
    site: str = ""
    region: str = ""
    kind: EngineKind = ""
    models: tuple[str, ...] = ()
    slots: int | None = None
    key_env: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        tunnel = parts.scheme == "tunnel" and bool(self.site)  # told by a site; nobody writes that into a file
        if (parts.scheme not in ("http", "https") and not tunnel) or not parts.hostname or parts.port == 0:
            raise ValueError(f"url {self.url!r} must be http://host:port or https://host:port")
        _check_range("slots", self.slots, 1, 1e6)

    @property
    def name(self) -> str:
        return self.id or urlsplit(self.url).netloc


class Coordination(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Budgets over several machines: one coordinates (`listen`), the others lease from it (`at`)."""

    listen: str = ""  # HOST:PORT
    at: str = ""  # HOST:PORT
    secret_env: str = "TIELINE_COORDINATOR_SECRET"
    tls_cert: str = ""  # of the coordinator's port
    tls_key: str = ""
    tls_ca: str = ""  # what its certificate is checked against; left out: the system's

    def __post_init__(self) -> None:
        if self.listen and self.at:
            raise ValueError("give coordination.listen or coordination.at, not both")


class OpenTelemetry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where traces go. Secrets for the collector are in OTEL_EXPORTER_OTLP_HEADERS, as its SDK reads it."""

    endpoint: str  # http://collector:4318/v1/traces
    sample: float = 1.0  # of requests that bring no traceparent; those that do say it themselves
    service: str = "tieline-gateway"

    def __post_init__(self) -> None:
        if urlsplit(self.endpoint).scheme not in ("http", "https"):
            raise ValueError(f"otel.endpoint {self.endpoint!r} must be an http: or https: address")
        if not 0.0 <= self.sample <= 1.0:
            raise ValueError("otel.sample must be between 0 and 1")


class Clocks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Separate clocks of one request, in seconds."""

    connect_s: float = 2.0  # a loopback or WAN handshake; beyond it the engine's host is gone
    first_token_s: float = 120.0  # long prompts on small engines
    idle_s: float = 60.0  # between two frames where a stall cannot be resumed
    total_s: float = 1_800.0
    stall_floor_s: float = 2.0  # silence shorter than this is never called a stall
    resume_s: float = 10.0  # to find a replica that takes a stream over; then an honest error
    queue_s: float = 10.0  # how long a request may wait for a free slot
    keep_alive_s: float = 5.0  # comments before the first token; proxies drop silent streams after 30 to 60 s
    head_s: float = 15.0  # a client's head must be complete by then
    body_s: float = 60.0  # and its body
    client_idle_s: float = 75.0  # keep-alive between requests, nginx's default

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0 < getattr(self, name) <= 1e7:
                raise ValueError(f"clocks.{name} must be above 0 s, and at most 10000000")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. Without keys the door is open to whoever reaches it, so it stays on loopback."""

    host: str = "127.0.0.1"
    port: int = 8787
    models: tuple[Model, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    keys: tuple[Key, ...] = ()
    engines: tuple[Engine, ...] = ()
    rentals: tuple[RentedReplicas, ...] = ()
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()  # names that a gateway without keys answers to, beside localhost
    clocks: Clocks = Clocks()
    coordination: Coordination = Coordination()
    otel: OpenTelemetry | None = None
    max_body_bytes: int = 32 * 1024 * 1024  # a 126,000-token prompt is about 0.6 MB; images are what is large
    max_connections: int = 20_000
    kept_bytes: int = 256 * 1024 * 1024  # delivered text kept for resumes, all streams together
    queue_length: int = 2_000
    failover_share: float = 0.10
    region: str = ""  # where this gateway stands
    abroad_s: float = 2.0  # what a replica of another region has to be better by, in seconds of waiting
    round_trips_ms: dict[str, float] = {}  # region -> from here, for replicas that are not asked themselves
    kwh_per_mtok: float = 1.0  # power a replica draws per million tokens, for price ceilings
    hedge_share: float = 0.05  # of requests, asked of a second replica when the first token is late; 0: none
    access_log: bool = True
    tls_cert: str = ""
    tls_key: str = ""

    def is_abroad(self, region: str) -> bool:
        """Does it stand in another region than this gateway? Not where either was not told."""
        return bool(self.region and region) and region != self.region

    def __post_init__(self) -> None:
        _check_keys(self.keys, self.tenants)
        _check_references(self)
        _check_names(self)
        _check_range("port", self.port, 0, 65_535)
        _check_range("failover_share", self.failover_share, 0, 1)
        _check_range("hedge_share", self.hedge_share, 0, 1)
        _check_range("abroad_s", self.abroad_s, 0, 600)
        _check_range("kwh_per_mtok", self.kwh_per_mtok, 0, 1e6)
        for name in ("max_body_bytes", "max_connections", "kept_bytes", "queue_length"):
            _check_range(name, getattr(self, name), 0 if name in ("kept_bytes", "queue_length") else 1, MAX_COUNT)
        if any(not 0 <= ms <= 10_000 for ms in self.round_trips_ms.values()):
            raise ValueError("round_trips_ms must be between 0 and 10000")
        if not self.keys and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(f"host {self.host!r} is not loopback and there are no keys; add [[keys]] first")


def _check_keys(keys: tuple[Key, ...], tenants: tuple[Tenant, ...]) -> None:
    """Each has a tenant and a project that exist, a region it may use, and a secret of its own. Raises ValueError."""
    by_id = {tenant.id: tenant for tenant in tenants}
    for key in keys:
        tenant = by_id.get(key.tenant)
        if tenant is None:
            raise ValueError(f"key {key.id!r} names tenant {key.tenant!r}; add it to [[tenants]]")
        if tenant.regions and key.regions and not set(tenant.regions) & set(key.regions):
            raise ValueError(f"key {key.id!r} may use no region that tenant {key.tenant!r} may be served in")
        if key.project != "default" and all(project.id != key.project for project in tenant.projects):
            raise ValueError(f"key {key.id!r} names project {key.project!r}; add it to tenant {key.tenant!r}")
    owners: dict[str, str] = {}
    for key in keys:
        if (other := owners.setdefault(key.sha256, key.id)) != key.id:
            raise ValueError(f"keys {other!r} and {key.id!r} have one secret; give each key its own")


def _check_names(settings: Settings) -> None:
    """No name stands twice. Raises ValueError."""
    for what, names in (
        ("model", [name for m in settings.models for name in (m.name, *m.aliases)]),
        ("tenant", [t.id for t in settings.tenants]),
        ("key", [k.id for k in settings.keys]),
        ("engine", [e.name for e in settings.engines]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"{what} {min(twice)!r} is given twice")


def _check_references(settings: Settings) -> None:
    """Rentals name tenants, models fall back to models. Raises ValueError."""
    tenants = {tenant.id for tenant in settings.tenants}
    for rental in settings.rentals:
        if rental.tenant not in tenants:
            raise ValueError(f"a rental names tenant {rental.tenant!r}; add it to [[tenants]]")
    offered = {model.name for model in settings.models}
    for model in settings.models:
        for other in model.fallbacks:
            if other not in offered or other == model.name:
                raise ValueError(f"model {model.name!r} falls back to {other!r}; name another one of [[models]]")
    rented = [(one.tenant, one.model, one.region, one.since) for one in settings.rentals]
    if len(set(rented)) < len(rented):
        raise ValueError("two rentals have the same tenant, model, region and since; add up their replicas")


def hash_key(secret: str) -> str:
    """What is kept of a key. Keys are 256 random bits, so a fast hash is enough: there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


def load(path: Path) -> Settings:
    """Settings of a gateway that stands alone. Raises SettingsError naming file, field and fix."""
    try:
        given = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from error
    return from_plain(given, str(path))


def from_plain(given: object, where: str) -> Settings:
    try:
        return msgspec.convert(given, Settings, strict=False)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise SettingsError(f"{where}: {error or type(error).__name__}") from error

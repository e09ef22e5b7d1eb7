"""The sections of a configuration as rooms receive them: frozen, strict, with defaults one can run on.

Knows nothing of files. Secrets are never here: a key is a hash, the name of an environment variable, or
made at first start.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from tieline.fleet.sites import Fleet
from tieline.intake import Checked, Count, Factor, Label, Machines, Megawatts, Moment, Money, Printed, Seconds, Share


class Strict(msgspec.Struct, metaclass=Checked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Refuses keys it does not know."""


class Pool(Strict, frozen=True, kw_only=True):
    """The mining pool. `fpps` pays every share its expected value, fees included, less `fee`; `pps+` the subsidy so and
    fees as the pool finds blocks; `pplns` a share of the blocks it finds, beside `others_ehs` of other miners; `solo`
    is a pool of one's own, whose coins cannot be spent for 100 blocks. `simulated`: payouts are made here from samples
    and difficulty; unset, only in an invented fleet, and a real one's payouts are entered."""

    name: Printed = "simulated FPPS"
    scheme: Literal["fpps", "pps+", "pplns", "solo"] = "fpps"
    simulated: bool | None = None
    fee: float = 0.015
    rejects: float = 0.003
    others_ehs: float = 100.0
    payout_hour_utc: int = 0


class Treasury(Strict, frozen=True, kw_only=True):
    """What the books open with and what is sold. `sell_share` of each payout is sold at once. `lots` says which lots
    leave first: oldest, newest, dearest, or of each the same share."""

    currency: Literal["USD"] = "USD"
    opening_usd: Money = Decimal("0")
    opening_btc: Money = Decimal("0")
    opening_btc_cost_usd: Money | None = None
    sell_share: Money = Decimal("0")
    lots: Literal["fifo", "lifo", "hifo", "average"] = "fifo"


class Model(Strict, frozen=True, kw_only=True):
    """A model that tenants may ask for, and its tariff in USD per million tokens.

    `engine` "llama.cpp": real replicas of the file at `path` ("selftest": the one in the package).
    "modelled": no engine here, only its load and its demand. A `path` that is an http(s) address is fetched by each
    site into its own folder. `sha256` of the weights, hexadecimal: other ones are not served.
    """

    name: Printed
    engine: Literal["llama.cpp", "modelled"] = "modelled"
    path: str | None = None
    sha256: str | None = None
    label: Printed = ""
    usd_per_million_input: Money = Decimal("0.20")
    usd_per_million_output: Money = Decimal("0.60")
    context_tokens: int = 2048
    slots: int = 8
    aliases: tuple[Printed, ...] = ()


class Key(Strict, frozen=True, kw_only=True):
    """An API key by its SHA-256 (hex), by the environment variable that holds it, or made at first start."""

    id: str
    sha256: str | None = None
    env: str | None = None
    generate: bool = False
    models: tuple[str, ...] = ()
    regions: tuple[Printed, ...] = ()
    project: str = "default"
    role: Literal["user", "billing", "admin"] = "user"


class Tenant(Strict, frozen=True, kw_only=True):
    """A customer. A limit of None is no limit.

    `latency_class` is what delay a cheaper site may cost it; `regions` where it may be served (empty: anywhere);
    `max_usd_per_mtok` what power may cost where it is served, per million tokens.
    """

    id: str
    name: Label
    budget_usd_per_month: Money | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent_requests: Count | None = None
    latency_class: Literal["interactive", "standard", "batch"] = "standard"
    regions: tuple[Printed, ...] = ()
    max_usd_per_mtok: Factor | None = None
    weight: Factor = 1.0
    keys: tuple[Key, ...] = msgspec.field(name="key", default=())


class Reserved(Strict, frozen=True, kw_only=True):
    """Replicas that somebody pays for whether used or not."""

    model: Printed
    region: Printed
    replicas: Machines
    since: Moment
    until: Moment


class Rental(Strict, frozen=True, kw_only=True):
    """Replicas of a model that a tenant rents for a period, in a region or (empty) in any. With a tariff its
    requests on them are included."""

    tenant: str
    model: Printed
    replicas: Machines
    since: Moment
    until: Moment
    region: Printed = ""
    usd_per_replica_hour: Money = Decimal("0")


class PartnerTerms(Strict, frozen=True, kw_only=True):
    """An organisation with sites of its own in the fleet, and its part of what they bring. `floor_usd_per_mwh`: the
    least that a megawatt-hour there has to earn. `hours`: of the day in UTC, as "06-22"; unset: all day."""

    id: str
    name: Printed
    sites: tuple[str, ...]
    mining_share: Money = Decimal("1")
    inference_share: Money = Decimal("1")
    floor_usd_per_mwh: Factor | None = None
    hours: str | None = None


class StoreServer(Strict, frozen=True, kw_only=True):
    """Where the records lie. `url` unset: in a file of the data folder. Else on PostgreSQL:
    postgresql://user@host:port/database, beyond this machine over TLS, with several hosts and commas between for a
    primary and its standbys; `password_file` names a file that only its owner reads, relative to the configuration's
    own folder. `warn_days`: once the disk is full in fewer days, as the last day says, somebody is told; 0: nobody.
    `disk_gb`: what the records may take at most on a server, whose disk cannot be asked."""

    url: str | None = None
    password_file: str | None = None
    warn_days: Annotated[float, msgspec.Meta(ge=0, le=3_650)] = 14.0
    disk_gb: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None

    @property
    def granted_bytes(self) -> int | None:
        return None if self.disk_gb is None else int(self.disk_gb * 1e9)


class Intake(Strict, frozen=True, kw_only=True):
    """What may come in. `clock_ahead_s`: by how much a sender's clock may be ahead of this platform's; what claims to
    be known later than that is set aside, and the sender's clock is a fault."""

    clock_ahead_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300

    @property
    def clock_ahead(self) -> timedelta:
        return timedelta(seconds=self.clock_ahead_s)


class AlertChannel(Strict, frozen=True, kw_only=True):
    """Where alerts go. "webhook": JSON, signed where `secret_env` names a secret; "apprise": e-mail, Slack, ntfy,
    PagerDuty and others by an Apprise address. `url_env` and `secret_env` name environment variables. `escalation`:
    told only what nobody has taken."""

    id: Printed
    kind: Literal["webhook", "apprise"]
    url_env: Printed
    secret_env: Printed | None = None
    escalation: bool = False


class Alerts(Strict, frozen=True, kw_only=True):
    """Who is called, when. `heartbeat_url_env` names the variable with an address that is asked each minute, so that
    somebody notices when Tieline itself is silent. `url`: where phones reach the console; messages then have a one-time
    link with which somebody takes the incident after signing in. `owners`: by the first words of an incident, whose it
    is. `runbooks`: a page of the operator's own, to which messages and the page lead, with the incident behind #."""

    raise_after_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 10.0
    clear_after_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 120.0
    escalate_after_minutes: Annotated[float, msgspec.Meta(gt=0, le=10_080)] = 15.0
    heartbeat_url_env: Printed | None = None
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$")] | None = None
    owners: dict[Printed, Printed] = {}
    runbooks: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s#]+$")] | None = None
    channels: tuple[AlertChannel, ...] = msgspec.field(name="channel", default=())


class Dispatch(Strict, frozen=True, kw_only=True):
    """How decisions are made. A plan is good for `valid_for_s`; after that a site takes its safe default.

    `reach`: by region, those whose replicas are near enough for its users, nearest first. `residency`: by region,
    the share of its demand that may be served nowhere else. `outages_per_year` of a site, from its own record.
    `peak_rules`: coincident peaks that sites of their operators pay for, by name; a site may name its own.
    `price_min_usd_per_mwh`, `price_max_usd_per_mwh`: a price outside is a fault of its feed and is not believed.
    `resale_discount`: contracted power that is not drawn is sold at the market less this share.
    """

    policy: str = "lookahead"
    forecaster: Literal["persistence", "analog", "learned"] = "analog"
    interval_s: Seconds = 300
    valid_for_s: Seconds = 900
    fee_share: Share = 0.03
    warm_replicas: Machines = 1
    reach: dict[str, tuple[str, ...]] = {}
    residency: dict[str, float] = {}
    outages_per_year: float = 1.0
    reserved: tuple[Reserved, ...] = ()
    peak_rules: tuple[str, ...] = ("4CP",)
    peak_scenarios: bool = False
    price_min_usd_per_mwh: float = -2_000.0
    price_max_usd_per_mwh: float = 25_000.0
    resale_discount: float = 0.10

    @property
    def interval(self) -> timedelta:
        return timedelta(seconds=self.interval_s)


class Feeds(Strict, frozen=True, kw_only=True):
    """Where the outside world comes from. auto: live where the internet answers; else synthetic in an invented fleet,
    and nothing in a real one, unless `invent` says that what has no source may be made up."""

    source: Literal["auto", "live", "synthetic"] = "auto"
    seed: int = 1
    invent: bool = False
    bitcoin_api: str = "https://mempool.space/api"
    weather_api: str = "https://api.open-meteo.com/v1/forecast"
    rates_api: str = "https://data-api.ecb.europa.eu/service/data/EXR"


class Console(Strict, frozen=True, kw_only=True):
    """The pages. `auth` "none": this machine alone, until somebody has an admin's account; "token": `token_env` names
    the environment variable that holds an operator's token; "accounts": nobody is let in without one. `two_people`: as
    soon as somebody has an admin's account, a site that is not invented acts only once two people approved it."""

    host: str = "127.0.0.1"
    port: int = 8700
    auth: Literal["none", "token", "accounts"] = "none"
    token_env: str | None = None
    two_people: bool = True


OperatorRole = Literal["viewer", "operator", "treasurer", "approver", "admin"]


class Login(Strict, frozen=True, kw_only=True):
    """An identity provider (OpenID Connect) that people sign in at. `roles` says which roles members of its groups have
    here, by the claim `groups_claim`; whoever is in none of them is refused. `url`: where browsers reach this console,
    as the provider has it registered, with /login/oidc/callback behind it. `client_secret_env` names the environment
    variable with the client's secret; without it the client is a public one. From then on everybody signs in."""

    issuer: Printed
    client_id: Printed
    url: Printed
    roles: dict[str, tuple[OperatorRole, ...]]
    client_secret_env: str | None = None
    groups_claim: Printed = "groups"
    scopes: tuple[Printed, ...] = ("openid", "profile", "email", "groups")


class Gateway(Strict, frozen=True, kw_only=True):
    """The OpenAI-compatible door. `upstreams` are engines outside the fleet, used as they are. `region`: where it
    stands (`tieline run gateway --region` says it for one of several); its own sites then come first, and one elsewhere
    has to be better by `abroad_s` seconds of waiting. `round_trips_ms`: from there to each region."""

    host: str = "127.0.0.1"
    port: int = 8701
    auth: Literal["none", "keys"] = "keys"
    upstreams: tuple[str, ...] = ()
    max_body_bytes: int = 20_000_000
    region: Label = ""
    abroad_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 2.0
    round_trips_ms: dict[Label, Annotated[float, msgspec.Meta(ge=0, le=10_000)]] = {}


class LinkDoor(Strict, frozen=True, kw_only=True):
    """Where sites that run elsewhere dial. `host` beyond loopback: over TLS, with a certificate of the platform's own;
    `name` is then the name or address that sites dial. `port` 0: any free one at the first start, and then the same.
    `tunnel_port`: beyond loopback, where sites hold connections to the gateway, over which requests reach them.
    `servers`: HOST:PORT of each server of a platform over several machines (`tieline run`), which everybody knows."""

    host: str = "127.0.0.1"
    port: int = 0
    name: str = ""
    tunnel_port: int = 4223
    servers: tuple[str, ...] = ()


class NoticeSource(Strict, frozen=True, kw_only=True):
    """Where the desk hears orders for one site: an OpenADR server. `program` and the client (`client_id`; `secret_env`
    names the environment variable) are of OpenADR 3, `ven` with certificates of 2.0b. `limit_mw`: what SIMPLE at level
    1 and above means. Silent for longer than `silent_after_s`, its last word holds, is ignored, or the site draws at
    most `silent_limit_mw`."""

    site: str
    source: Literal["openadr3", "openadr2b"]
    url: Printed
    name: Label | None = None
    program: Printed | None = None
    client_id: Printed | None = None
    secret_env: str | None = None
    ven: Printed | None = None
    cert_file: str | None = None
    key_file: str | None = None
    ca_file: str | None = None
    fingerprint: Printed | None = None
    limit_mw: Megawatts = 0.0
    silent_after_s: Seconds = 300
    when_silent: Literal["hold", "ignore", "curtail"] = "hold"
    silent_limit_mw: Megawatts = 0.0


class Sections(Strict, frozen=True, kw_only=True):
    """The sections that rooms receive as they stand in the file."""

    pool: Pool = Pool()
    treasury: Treasury = Treasury()
    dispatch: Dispatch = Dispatch()
    feeds: Feeds = Feeds()
    console: Console = Console()
    gateway: Gateway = Gateway()
    link: LinkDoor = LinkDoor()
    intake: Intake = Intake()
    store: StoreServer = StoreServer()
    alerts: Alerts = Alerts()
    login: Login | None = None
    notice: tuple[NoticeSource, ...] = ()


class Config(Sections, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Everything a running platform was told."""

    fleet: Fleet
    models: tuple[Model, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    rentals: tuple[Rental, ...] = ()

    @property
    def engine_model(self) -> Model | None:
        """The model that real replicas serve; None where the file names none."""
        return next((model for model in self.models if model.engine == "llama.cpp"), None)

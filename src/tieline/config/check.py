"""Whether the sections of a file agree with each other: bounds, names that must be known, doors that must be shut.

Each mistake leads to its line and says how it is mended.
"""

import importlib.util
import ipaddress
import re
from urllib.parse import urlsplit

from tieline.config.lines import MistakeError, Where, did_you_mean
from tieline.config.sections import (
    LinkDoor,
    Login,
    NoticeSource,
    Treasury,
)
from tieline.config.text import FileText
from tieline.intake import (
    NAME,
)

SELF_TEST = "selftest"


# A DNS name, or an IPv4 or IPv6 address without brackets.
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|[0-9a-fA-F:]{2,45}")


_SHA256 = re.compile(r"[0-9a-f]{64}")


# Tenants, projects and keys, as the door takes them: names that stand in paths and in one another.
_NAME_FIX = "use letters, digits, '-', '_' and '.', at most 64"


def check_regions(raw: FileText, regions: set[str]) -> None:
    """The gateway's and dispatch's words about regions name those of the sites."""

    def known(at: Where, region: str) -> None:
        if region not in regions:
            raise MistakeError(at, f"no site is in region {region!r}", did_you_mean(region, regions))

    if raw.gateway.region:
        known(("gateway", "region"), raw.gateway.region)
    for region in raw.gateway.round_trips_ms:
        known(("gateway", "round_trips_ms", region), region)
    for region, near in raw.dispatch.reach.items():
        known(("dispatch", "reach", region), region)
        for other in near:
            known(("dispatch", "reach", region), other)
    for region, share in raw.dispatch.residency.items():
        known(("dispatch", "residency", region), region)
        within(("dispatch", "residency", region), share, 0, 1)
    within(("dispatch", "outages_per_year"), raw.dispatch.outages_per_year, 0, 8766)
    within(("dispatch", "resale_discount"), raw.dispatch.resale_discount, 0, 1)
    low, high = raw.dispatch.price_min_usd_per_mwh, raw.dispatch.price_max_usd_per_mwh
    if low >= high:
        raise MistakeError(
            ("dispatch", "price_max_usd_per_mwh"),
            f"{high:g} is not above the least",
            f"give more than {low:g}",
        )
    for n, one in enumerate(raw.dispatch.reserved):
        known(("dispatch", "reserved", n, "region"), one.region)
        within(("dispatch", "reserved", n, "replicas"), one.replicas, 0, 1_000_000)
        for name, moment in (("since", one.since), ("until", one.until)):
            if moment.tzinfo is None:
                fix = "write it with its offset, 2026-09-01T00:00:00Z"
                raise MistakeError(("dispatch", "reserved", n, name), "has no time zone", fix)
        if one.until <= one.since:
            raise MistakeError(("dispatch", "reserved", n, "until"), "is not after since", "give a later end")


def check_sections(raw: FileText) -> None:
    for path, value in (
        (("pool", "fee"), raw.pool.fee),
        (("pool", "rejects"), raw.pool.rejects),
        (("treasury", "sell_share"), float(raw.treasury.sell_share)),
        (("dispatch", "fee_share"), raw.dispatch.fee_share),
    ):
        within(path, value, 0, 1)
    _check_treasury(raw.treasury)
    within(("pool", "payout_hour_utc"), raw.pool.payout_hour_utc, 0, 23)
    interval = raw.dispatch.interval_s
    if interval < 60 or 3600 % interval:
        raise MistakeError(("dispatch", "interval_s"), f"{interval} s", "give 60, 300, 900 or another part of an hour")
    if raw.dispatch.forecaster == "learned" and importlib.util.find_spec("lightgbm") is None:
        fix = 'pip install "tieline[forecast]", or write "analog"'
        raise MistakeError(("dispatch", "forecaster"), '"learned" needs the extra forecast', fix)
    if raw.dispatch.valid_for_s < interval:
        raise MistakeError(("dispatch", "valid_for_s"), "shorter than an interval", f"give {interval} or more")
    _check_models(raw)
    _check_tenants(raw)
    _check_rentals(raw)
    _check_door("console", raw.console.host, raw.console.port, raw.console.auth)
    _check_door("gateway", raw.gateway.host, raw.gateway.port, raw.gateway.auth)
    _check_link(raw.link)
    if raw.console.auth == "token" and raw.console.token_env is None:
        raise MistakeError(
            ("console", "auth"), "token without token_env", "name the environment variable that holds it"
        )
    if raw.login is not None:
        _check_login(raw.login)


def check_notices(raw: FileText, sites: set[str]) -> None:
    """Each source of orders is for a site of the file and says what its protocol needs."""
    taken: set[tuple[str, str]] = set()
    for n, one in enumerate(raw.notice):
        at: Where = ("notice", n)
        if one.site not in sites:
            raise MistakeError((*at, "site"), f"no site {one.site!r}", did_you_mean(one.site, sites))
        name = (one.site, one.name or one.source)
        if name in taken:
            raise MistakeError((*at, "name"), f"{name[1]!r} of {one.site} is taken", "give each source its own name")
        taken.add(name)
        _check_notice(one, at)


def _check_notice(one: NoticeSource, at: Where) -> None:
    parts = urlsplit(one.url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise MistakeError((*at, "url"), f"{one.url!r} is no https address", "write https://...")
    if one.source == "openadr3" and one.program is None:
        raise MistakeError((*at, "program"), "missing", "name the program whose events are meant")
    if one.source == "openadr2b" and one.ven is None:
        raise MistakeError((*at, "ven"), "missing", "give the name under which the server knows you")
    if (one.client_id is None) != (one.secret_env is None):
        fix = "give both; secret_env names the environment variable that holds the secret"
        raise MistakeError((*at, "client_id"), "client_id or secret_env alone", fix)
    if (one.cert_file is None) != (one.key_file is None):
        raise MistakeError((*at, "cert_file"), "cert_file or key_file alone", "give both")
    if one.silent_after_s <= 0:
        raise MistakeError((*at, "silent_after_s"), f"{one.silent_after_s} s", "give more than 0, 300 say")


def _check_models(raw: FileText) -> None:
    models: set[str] = set()
    for n, model in enumerate(raw.model):
        if model.name in models:
            raise MistakeError(("model", n, "name"), f"{model.name!r} is taken", "give each model its own name")
        models.add(model.name)
        if model.engine == "llama.cpp" and model.path is None:
            raise MistakeError(
                ("model", n, "path"), "missing", f'write path = "{SELF_TEST}", or a GGUF file or its URL'
            )
        if model.sha256 is not None and not _SHA256.fullmatch(model.sha256):
            raise MistakeError(("model", n, "sha256"), "not 64 lower-case hex digits", "write the weights' SHA-256")
        within(("model", n, "slots"), model.slots, 1, 256)
        within(("model", n, "context_tokens"), model.context_tokens, 64, 10_000_000)


def _check_login(login: Login) -> None:
    """Tokens and codes travel to both addresses: over TLS, or within this machine."""
    for field, address in (("issuer", login.issuer), ("url", login.url)):
        parts = urlsplit(address)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise MistakeError(("login", field), f"{address!r} is no https address", "write https://...")
        if parts.query or parts.fragment:
            raise MistakeError(("login", field), f"{address!r} has more than a host and a path", "leave out ? and #")
    if not login.roles:
        raise MistakeError(("login", "roles"), "no group has a role", 'write [login.roles], as in "ops" = ["operator"]')


def _check_treasury(treasury: Treasury) -> None:
    for field, value, places in (
        ("opening_usd", treasury.opening_usd, 2),
        ("opening_btc", treasury.opening_btc, 8),
        ("opening_btc_cost_usd", treasury.opening_btc_cost_usd, 2),
    ):
        if value is None:
            continue
        if not value.is_finite() or abs(value) > 10**15:
            raise MistakeError(("treasury", field), f"{value} is out of all bounds", "write what the books begin with")
        if value < 0 and field != "opening_usd":
            raise MistakeError(("treasury", field), f"{value} is negative", "give 0 or more")
        if value != round(value, places):
            raise MistakeError(("treasury", field), f"{value} has more than {places} decimals", "round it yourself")
    if treasury.opening_btc > 0 and treasury.opening_btc_cost_usd is None:
        raise MistakeError(
            ("treasury", "opening_btc_cost_usd"), f"missing for {treasury.opening_btc} BTC",
            "write what they cost, or are carried at; 0 only where they cost nothing",
        )  # fmt: skip


def _check_tenants(raw: FileText) -> None:
    tenants: set[str] = set()
    keys: set[str] = set()
    secrets: dict[str, str] = {}  # how a secret is given, and the key it is given for
    for n, tenant in enumerate(raw.tenant):
        _name(("tenant", n, "id"), tenant.id, tenants)
        for k, key in enumerate(tenant.keys):
            at, what = ("tenant", n, "key", k), f"key {key.id!r} "
            _name((*at, "id"), key.id, keys)
            if not NAME.fullmatch(key.project):
                raise MistakeError((*at, "project"), f"{key.project!r} is no id", _NAME_FIX, what)
            if sum((key.sha256 is not None, key.env is not None, key.generate)) != 1:
                fix = "write sha256, env or generate = true"
                raise MistakeError((*at, "id"), "a key is given in exactly one way", fix, what)
            if key.sha256 is not None and not _SHA256.fullmatch(key.sha256):
                raise MistakeError((*at, "sha256"), "not 64 hex digits", "write the SHA-256 of the key, never the key")
            given = key.sha256 or key.env
            if given is not None and (other := secrets.setdefault(given, key.id)) != key.id:
                field = "sha256" if key.sha256 is not None else "env"
                raise MistakeError(
                    (*at, field), f"the secret of key {other!r} again", "give each key its own secret", what
                )


def _name(at: Where, id_: str, taken: set[str]) -> None:
    if not NAME.fullmatch(id_):
        raise MistakeError(at, f"{id_!r} is no id", _NAME_FIX)
    if id_ in taken:
        raise MistakeError(at, f"{id_!r} is taken", "give each its own id")
    taken.add(id_)


def _check_rentals(raw: FileText) -> None:
    seen = set()
    for n, rental in enumerate(raw.rental):
        if rental.tenant not in {one.id for one in raw.tenant}:
            raise MistakeError(("rental", n, "tenant"), f"{rental.tenant!r} is no tenant", "name one of [[tenant]]")
        if rental.model not in {one.name for one in raw.model}:
            raise MistakeError(("rental", n, "model"), f"{rental.model!r} is no model", "name one of [[model]]")
        within(("rental", n, "replicas"), rental.replicas, 1, 100_000)
        if rental.since.tzinfo is None or rental.until.tzinfo is None or rental.since >= rental.until:
            raise MistakeError(("rental", n, "until"), "not after since", "give both with their zone, since first")
        cents = rental.usd_per_replica_hour
        if cents < 0 or cents * 10**9 % 1:
            raise MistakeError(
                ("rental", n, "usd_per_replica_hour"), f"{cents}", "give 0 or more, nine decimals at most"
            )
        what = (rental.tenant, rental.model, rental.region, rental.since)
        if what in seen:
            raise MistakeError(("rental", n, "since"), "the same rental twice", "add up their replicas")
        seen.add(what)


def _check_door(section: str, host: str, port: int, auth: str) -> None:
    if not is_loopback(host) and auth == "none":
        wanted = "accounts" if section == "console" else "keys"
        raise MistakeError(
            (section, "host"), f"{host} can be reached from outside and nobody is asked who they are",
            f'write auth = "{wanted}", or host = "127.0.0.1"',
        )  # fmt: skip
    within((section, "port"), port, 0, 65535)


def _check_link(door: LinkDoor) -> None:
    within(("link", "port"), door.port, 0, 65535)
    within(("link", "tunnel_port"), door.tunnel_port, 1, 65535)
    for n, server in enumerate(door.servers):
        host, colon, port = server.rpartition(":")
        # Servers speak to each other 2,000 above the port that others dial.
        if not colon or not _HOST.fullmatch(host) or not port.isdigit() or not 0 < int(port) <= 63_535:
            fix = 'write it like "link-1.example.org:4222", with a port up to 63535'
            raise MistakeError(("link", "servers", n), f"{server!r} is no address of a server", fix)
        if door.servers.index(server) != n:
            raise MistakeError(("link", "servers", n), f"{server!r} is there twice", "name each server once")
    if is_loopback(door.host):
        return
    if door.servers and not door.name and not door.port:
        return  # each machine is named when its part is started
    if not _HOST.fullmatch(door.name):
        raise MistakeError(
            ("link", "name"), f"{door.name!r} is no name or address that a site could dial",
            f'{door.host} can be reached from outside: write name = "link.example.org", or the address sites dial',
        )  # fmt: skip
    if door.port == 0:
        raise MistakeError(("link", "port"), "missing", "write the port that sites dial, such as 4222")
    if door.port == door.tunnel_port:
        raise MistakeError(("link", "tunnel_port"), f"{door.port} is the link's own port", "write another one")


def is_loopback(host: str) -> bool:
    """Only what cannot be reached from another machine; a name other than localhost may point anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def within(path: Where, value: float, low: float, high: float, what: str = "") -> None:
    if not low <= value <= high:
        raise MistakeError(path, f"{value}", f"give a number from {low} to {high}", what)


def above(path: Where, value: float, what: str = "") -> None:
    if not 0 < value < 1e5:
        raise MistakeError(path, f"{value}", "give megawatts above 0", what)

"""Who may say and hear what on the link: one user for each site and each part, with subjects of its own.

A site's user says what its own site says and hears what is meant for it; answers come to an inbox prefix that is its
alone, because whoever may subscribe `_INBOX.>` reads everybody's answers. Nobody may use `$JS.API`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from tieline.link.tunnel import CUT, DOORS, SITES

# Sites' users carry this before the site's id, so that no site is ever named as a part is.
SITE: Final = "site-"
JOIN: Final = "join-"
# Answers come on subjects that begin so.
INBOX: Final = "_INBOX."


class Rights(NamedTuple):
    """Subjects that a user may publish and subscribe, its own inbox left out."""

    says: tuple[str, ...]
    hears: tuple[str, ...]


PARTS: Final[Mapping[str, Rights]] = {
    "core": Rights(
        ("plan.*", "command.*", "feeds.weathertick", "feeds.demand", "_INBOX.>"),
        ("records.*", "plan.get.*", "orders.get.*", "config.get.*", "feeds.get"),
    ),
    "gateway": Rights(
        ("records.gateway", "plan.get.*", "orders.get.*", DOORS),
        ("replica.>", "plan.*", "command.*", f"{SITES}*", f"{CUT}*"),
    ),
    "console": Rights(("records.operator", "records.people", "attention"), ("live.*",)),
    "alerts": Rights((), ("attention",)),
    # Commands of the operator's own: promises, offering again what a site sent and was set aside, asking what a limit
    # would do at a site.
    "operator": Rights(("records.*", "preview.*"), ()),
    # What all sites that run on the platform's own machine hear together.
    "sites": Rights(("feeds.get",), ("feeds.weathertick", "feeds.demand")),
    # The server's keeper: sees whether it answers, lets sites join, and says whom it cut off.
    "link": Rights(("_INBOX.>", f"{CUT}*"), ("join.*",)),
}


def site_user(site_id: str) -> str:
    """The name of a site's user."""
    return SITE + site_id


def inbox_of(user: str) -> str:
    """The prefix of the subjects on which a user's answers come."""
    return f"{INBOX}{user}"


def password_of(secret: str, user: str) -> str:
    """The password of one user of one start of the platform; says nothing of another user's."""
    return hmac.new(secret.encode(), f"link user {user}".encode(), hashlib.sha256).hexdigest()


def rights_of(user: str) -> Rights:
    """Raises KeyError for a user that is neither a part, nor a site, nor somebody who joins."""
    if user.startswith(SITE):
        site = user.removeprefix(SITE)
        return Rights(
            (
                f"records.{site}", f"live.{site}", f"replica.{site}.>", f"plan.get.{site}", f"orders.get.{site}",
                f"config.get.{site}", "feeds.get", f"{SITES}{site}",
            ),
            (f"plan.{site}", f"command.{site}", f"preview.{site}", "feeds.weathertick", "feeds.demand", DOORS),
        )  # fmt: skip
    if user.startswith(JOIN):
        return Rights((f"join.{user.removeprefix(JOIN)}",), ())
    return PARTS[user]


def server_users(passwords: Mapping[str, str]) -> str:
    """The `authorization` block of a server's configuration for these users and their passwords."""
    lines = []
    for user, password in sorted(passwords.items()):
        says, hears = rights_of(user)
        hears = (*hears, f"{inbox_of(user)}.>")
        # An empty list would allow everything.
        publish = json.dumps(list(says)) if says else '{deny: ">"}'
        # A site answers a question to the inbox that it came from, once, and may speak to no other.
        answers = ', allow_responses: {max: 1, expires: "10s"}' if user.startswith(SITE) else ""
        allowed = f"{{publish: {publish}, subscribe: {json.dumps(list(hears))}{answers}}}"
        lines.append(f"  {{user: {json.dumps(user)}, password: {json.dumps(password)}, permissions: {allowed}}}")
    return "authorization {\n timeout: 5\n users = [\n" + "\n".join(lines) + "\n ]\n}\n"

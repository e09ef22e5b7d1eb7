"""One table of rights: which role may do what. Pure; page, API and command line all ask
`may`.

Operators' roles are for the fleet and its books; a tenant's roles are for that tenant alone, a partner's for its own
sites. A right at a site may be
narrowed to some sites or regions: an account without any is for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal, get_args

Role = Literal["viewer", "operator", "treasurer", "approver", "admin", "owner", "developer", "billing", "partner"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
# A tenant's people; the others are the operator's.
TENANT_ROLES: Final = frozenset({"owner", "developer", "billing"})
# People of an organisation that has sites of its own in the fleet.
PARTNER_ROLES: Final = frozenset({"partner"})


class Right(StrEnum):
    """What can be allowed, each in words that stand on a page."""

    SEE = "see the fleet, its decisions and records"
    COMMAND = "hold, order, confirm and end commands at a site"
    SEE_MONEY = "see the books, the treasury and invoices"
    BOOK = "enter sales, loans, payments and other events"
    DESK = "accept, correct and withdraw figures that others publish"
    APPROVE = "approve what a second person has to approve"
    MACHINE = "start, stop, back up and mend the platform, and let machines and sites join"
    PEOPLE = "add and remove accounts and change their roles"
    ASK = "ask the fleet's models from the console"
    OWN_ACCOUNT = "sign out, change one's own password and sessions"
    TENANT_SEE = "see one's own tenant's usage, limits and prices"
    TENANT_KEYS = "make, rotate and revoke one's own tenant's keys"
    TENANT_MONEY = "see one's own tenant's spend and invoices"
    TENANT_PEOPLE = "invite people to one's own tenant"
    PARTNER_SEE = "see one's own organisation's sites and statements"
    PARTNER_ASK = "set one's own organisation's floor price and hours"


_EVERY_OPERATOR: Final = frozenset({Right.SEE, Right.OWN_ACCOUNT, Right.ASK})
_EVERY_TENANT: Final = frozenset({Right.TENANT_SEE, Right.OWN_ACCOUNT})

TABLE: Final[Mapping[Role, frozenset[Right]]] = {
    "viewer": _EVERY_OPERATOR,
    "operator": _EVERY_OPERATOR | {Right.COMMAND},
    "treasurer": _EVERY_OPERATOR | {Right.SEE_MONEY, Right.BOOK, Right.DESK},
    "approver": _EVERY_OPERATOR | {Right.SEE_MONEY, Right.APPROVE},
    "admin": _EVERY_OPERATOR
    | {Right.COMMAND, Right.SEE_MONEY, Right.BOOK, Right.DESK, Right.APPROVE}
    | {Right.MACHINE, Right.PEOPLE},
    "owner": _EVERY_TENANT | {Right.TENANT_KEYS, Right.TENANT_MONEY, Right.TENANT_PEOPLE},
    "developer": _EVERY_TENANT | {Right.TENANT_KEYS},
    "billing": _EVERY_TENANT | {Right.TENANT_MONEY},
    "partner": frozenset({Right.PARTNER_SEE, Right.PARTNER_ASK, Right.OWN_ACCOUNT}),
}
# Rights that are about one site, and so narrowed by an account's sites.
AT_A_SITE: Final = frozenset({Right.COMMAND})


def rights(roles: frozenset[Role] | tuple[Role, ...]) -> frozenset[Right]:
    """All that these roles together may do."""
    return frozenset(right for role in roles for right in TABLE[role])


def may(roles: tuple[Role, ...], right: Right, places: tuple[str, ...] = (), site: str = "", region: str = "") -> bool:
    """Whether an account with `roles`, narrowed to `places` (sites or regions; none: all), has `right` at `site`.

    For a right that is about a site, an account that is narrowed needs the site or its region among its places.
    """
    if right not in rights(roles):
        return False
    return right not in AT_A_SITE or not places or site in places or (region != "" and region in places)

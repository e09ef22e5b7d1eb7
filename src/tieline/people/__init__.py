"""Who may do what: accounts, sessions, and one table of rights that page, API and command all ask."""

from tieline.people.accounts import Account, People, PeopleError
from tieline.people.rights import ROLES, Right, Role, may

__all__ = ["ROLES", "Account", "People", "PeopleError", "Right", "Role", "may"]

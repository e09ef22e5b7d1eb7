"""What each command needs of whoever calls it: the table of rights that page and API go by, asked at the command line.

    tieline --as ada commit accept ...       # ada's password is asked for, or taken from TIELINE_PASSWORD

Whoever owns a data folder is this machine's administrator: its files are theirs, whatever a command would say.
Everybody else who can read it says who they are from the first admin's account on, and so may whoever wants to stand on
records by name. Commands that work on one's own files alone need nothing.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from tieline.cli.outcome import CALLER, AnswerIsNoError
from tieline.people.rights import AT_A_SITE, Right

if TYPE_CHECKING:
    from tieline.people import Account, People

T = TypeVar("T")

PASSWORD_ENV: Final = "TIELINE_PASSWORD"
# Names of the option under which a command records who called it.
RECORDED: Final = ("by", "who")

# Command, or group of commands -> the right. The longest that fits counts.
NEEDS: Final[Mapping[str, Right]] = {
    **dict.fromkeys(("status", "plan", "peaks", "observe", "rigs", "rig preview", "site list"), Right.SEE),
    **dict.fromkeys(("alerts list", "approvals list", "commit list", "commit check"), Right.SEE),
    **dict.fromkeys(("quarantine list", "quarantine show"), Right.SEE),
    **dict.fromkeys(("commit", "bid award", "reserves award", "rig"), Right.COMMAND),
    **dict.fromkeys(("alerts take", "alerts silence"), Right.COMMAND),
    **dict.fromkeys(("update", "treasury", "books", "bid bill"), Right.SEE_MONEY),
    **dict.fromkeys(("import", "books add", "books fetch", "books close", "books issue", "books peaks"), Right.BOOK),
    **dict.fromkeys(("books policy", "books seal", "treasury propose"), Right.BOOK),
    **dict.fromkeys(("approvals approve", "approvals reject"), Right.APPROVE),
    # Whoever proposed may take it back; what is proposed needs the right to do it.
    **dict.fromkeys(("approvals propose", "approvals withdraw"), Right.SEE),
    "people": Right.PEOPLE,
    **dict.fromkeys(("up", "down", "run", "machine", "doctor", "gateway", "portal"), Right.MACHINE),
    **dict.fromkeys(("backup", "restore", "verify", "store", "quarantine", "alerts test"), Right.MACHINE),
    **dict.fromkeys(("site", "join", "agent"), Right.MACHINE),
}
# With this option a command does more than it otherwise does: (command, option, its value or any) -> the right.
MORE: Final[Mapping[tuple[str, str, str | None], Right]] = {
    ("update", "state", None): Right.BOOK,
    ("import", "what", "rigs"): Right.MACHINE,
    ("import", "what", "tenants"): Right.MACHINE,
}
# Commands that are about no one site, though their right can be narrowed to some.
OF_NO_SITE: Final = ("alerts ",)
# On one's own files alone.
FREE: Final = frozenset(
    {
        "replay", "data", "backtest", "study", "reserves list", "markets", "disclosures", "init", "discover", "sim",
        "completion", "config",
    }
)  # fmt: skip


@dataclass(slots=True)
class Caller:
    """Who says to be whom, of one call of `tieline`; accounts that proved themselves, by data folder."""

    name: str | None = None
    proved: dict[Path, Account] = field(default_factory=dict)


def needed(path: str, params: Mapping[str, Any]) -> Right | None:
    """The right that a command needs as it is called; None: nobody's."""
    for (command, option, value), right in MORE.items():
        if path == command and params.get(option) and value in (None, params[option]):
            return right
    words = path.split()
    prefixes = [" ".join(words[:n]) for n in range(len(words), 0, -1)]
    for prefix in prefixes:
        if prefix in NEEDS:
            return NEEDS[prefix]
        if prefix in FREE:
            return None
    raise KeyError(f"cli/rights.py does not say what {path!r} needs")


def gated(work: Callable[..., Any], path: str) -> Callable[..., Any]:
    """The command's work, for those who may do it."""

    @functools.wraps(work)
    def run(*args: Any, **kwargs: Any) -> Any:
        account = _let_in(path, kwargs)
        if account is not None:
            kwargs |= {name: account.id for name in RECORDED if name in kwargs}
        return work(*args, **kwargs)

    run.__dict__["asks_rights"] = True  # so that it is asked once
    return run


def caller_name() -> str | None:
    """The account that called this command and proved itself; None: whoever owns the files."""
    return next((account.id for account in _caller().proved.values()), None)


def _caller() -> Caller:
    context = click.get_current_context(silent=True)
    if context is None:
        return Caller()
    found = context.meta.get(CALLER)
    if not isinstance(found, Caller):
        found = context.meta[CALLER] = Caller(found)
    return found


def _let_in(path: str, params: Mapping[str, Any]) -> Account | None:
    """Who calls, where they say so. Raises AnswerIsNoError for whoever may not."""
    right, folder, caller = needed(path, params), params.get("data_dir"), _caller()
    if right is None or folder is None or "account" in params:  # such a command asks for itself
        return None
    if caller.name is None:
        if not owns(folder) and _has_admin(folder):
            raise AnswerIsNoError(f"{folder} is not yours: say who you are, tieline --as ACCOUNT {path}")
        return None
    account = caller.proved.get(folder) or _proved(folder, caller.name)
    caller.proved[folder] = account
    _allow(account, right, path, folder, params)
    return account


def _allow(account: Account, right: Right, path: str, folder: Path, params: Mapping[str, Any]) -> None:
    """Raises AnswerIsNoError for whoever may not."""
    site = params.get("site") or params.get("site_id") or ""
    if path.startswith(OF_NO_SITE):
        site = next(iter(account.places), "")
    if not account.may(right, site, _region(folder, site) if account.places and site else ""):
        narrowed = right in AT_A_SITE and account.may(right, next(iter(account.places), ""))
        where = f" here; {account.id} may at {', '.join(account.places)}" if narrowed else ""
        raise AnswerIsNoError(f"{account.id} may not {right.value}{where}")


def owns(folder: Path) -> bool:
    """Whether the files of a data folder are those of whoever calls; what is not there yet will be."""
    try:
        return os.geteuid() in (0, folder.stat().st_uid)
    except OSError:
        return True


def _has_admin(folder: Path) -> bool:
    return _people(folder, lambda people: people.has_admin)


def _proved(folder: Path, name: str) -> Account:
    """Raises click.ClickException for a wrong name or password."""
    password = os.environ.get(PASSWORD_ENV) or click.prompt(f"Password of {name}", hide_input=True, err=True)
    from tieline.clock import wall_now

    return _people(folder, lambda people: people.sign_in(name, password, "command line", wall_now()))


def _people(folder: Path, ask: Callable[[People], T]) -> T:
    try:
        from tieline.app.machines.beside import people_of
        from tieline.people import People, PeopleError
        from tieline.store import StoreError
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"accounts need {error.name}; install the platform: pip install 'tieline[platform]'"
        ) from error
    try:
        store = people_of(folder)
        try:
            return ask(People(store))
        finally:
            store.close()
    except (PeopleError, StoreError) as error:
        raise AnswerIsNoError(str(error)) from error


def _region(folder: Path, site: str) -> str:
    from tieline.cli.folder import config_and_now

    return next((one.region for one in config_and_now(folder)[0].fleet.sites if one.id == site), "")

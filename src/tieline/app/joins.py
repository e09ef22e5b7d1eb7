"""Sites that run elsewhere: tokens to join with, credentials of those that joined, those that were cut off.

One file in the data folder, `link/sites.json`, mode 0600. The command line and the link's part both write it, each
under a lock; the link's part follows it and has the server read its users again.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from tieline.config import Config
from tieline.config.sections import LinkDoor
from tieline.intake import IntakeError, read
from tieline.link.signing import last_number, public_key
from tieline.link.users import JOIN, site_user
from tieline.store.files import private_folder, write_private

# Of the data folder: who may speak on the link, and the key that signs what is said to sites.
LINK_FOLDER, TLS_FOLDER = "link", "tls"
TOKEN_FOR = timedelta(minutes=30)
# Tokens that stand at once; the oldest go first, and were about to end anyway.
MAX_TOKENS = 1_000


class JoinError(ValueError):
    """One line: what does not go, and what to do."""


class OpenToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that may be spent once."""

    site_id: str
    password: str
    until: datetime


class JoinedSite(msgspec.Struct, frozen=True, kw_only=True):
    """A site that runs elsewhere. `password` None: it was cut off."""

    since: datetime
    password: str | None


class JoinBook(msgspec.Struct, kw_only=True):
    """What the file holds. `port`: of the link, which sites elsewhere dial at every start."""

    port: int | None = None
    tokens: dict[str, OpenToken] = {}
    sites: dict[str, JoinedSite] = {}

    def passwords(self, now: datetime) -> dict[str, str]:
        """The users that the server knows because of this book."""
        known = {site_user(site): one.password for site, one in self.sites.items() if one.password is not None}
        return known | {JOIN + name: one.password for name, one in self.tokens.items() if one.until > now}

    def offer(self, site_id: str, now: datetime) -> str:
        """A new token's name, for this site."""
        self.tokens = {name: one for name, one in self.tokens.items() if one.until > now}
        while len(self.tokens) >= MAX_TOKENS:
            self.tokens.pop(next(iter(self.tokens)))
        name = secrets.token_hex(8)
        self.tokens[name] = OpenToken(site_id=site_id, password=secrets.token_urlsafe(24), until=now + TOKEN_FOR)
        return name

    def spend(self, name: str, now: datetime) -> tuple[str, str]:
        """The site of a token and its new password. The token is gone. Raises JoinError."""
        token = self.tokens.pop(name, None)
        if token is None or token.until <= now:
            raise JoinError("this token is spent or too old; make another with: tieline site token SITE")
        password = secrets.token_urlsafe(24)
        self.sites[token.site_id] = JoinedSite(since=now, password=password)
        return token.site_id, password

    def revoke(self, site_id: str, now: datetime) -> None:
        """Take a site's credentials and open tokens away; it may join again with a new token."""
        self.tokens = {name: one for name, one in self.tokens.items() if one.site_id != site_id}
        self.sites[site_id] = JoinedSite(since=now, password=None)


def path_of(data: Path) -> Path:
    return data / LINK_FOLDER / "sites.json"


def read_book(data: Path) -> JoinBook:
    """Raises JoinError where the file cannot be read."""
    path = path_of(data)
    try:
        return read(path.read_bytes(), _read_book)
    except FileNotFoundError:
        return JoinBook()
    except (OSError, IntakeError) as error:
        raise JoinError(
            f"{path}: {error}; restore it from a backup, or move it away and let sites join anew"
        ) from error


def verify_joins(data: Path) -> Iterator[tuple[Path, ValueError | None]]:
    """The book of joins and the key of commands, where there are any, each with what is wrong with it. Changes
    nothing."""
    folder = data / LINK_FOLDER
    looks: dict[Path, Callable[[], object]] = {
        path_of(data): lambda: read_book(data),
        folder / "command.key": lambda: public_key(folder),
        folder / "command.mark": lambda: last_number(folder),
    }
    for path, look in looks.items():
        if not path.exists():
            continue
        try:
            look()
        except ValueError as error:
            yield path, error
        else:
            yield path, None


def config_of(config: Config, site_id: str) -> bytes:
    """What one site's agent needs of a configuration: its site, the models it serves, the interval, and the link's
    servers; no tenants, no money, no other site. Raises KeyError."""
    fleet = msgspec.structs.replace(config.fleet, sites=(config.fleet.site(site_id),))
    link = LinkDoor(servers=config.link.servers)
    return msgspec.json.encode(Config(fleet=fleet, models=config.models, dispatch=config.dispatch, link=link))


def url_of(servers: tuple[str, ...], before: str) -> str:
    """What a site dials from now on, in the way that it does; `before` where no servers are named."""
    scheme = before.partition("://")[0]
    return ",".join(f"{scheme}://{server}" for server in servers) or before


@contextlib.contextmanager
def changed_book(data: Path) -> Iterator[JoinBook]:
    """The book, written back when the block ends without an error. Raises JoinError."""
    path = path_of(data)
    private_folder(path.parent)
    with path.with_name("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        book = read_book(data)
        yield book
        write_private(path, msgspec.json.format(msgspec.json.encode(book)))


class TokenText(msgspec.Struct, frozen=True, kw_only=True):
    """What the text of a token carries. `authority`: the certificate that the link's server must show, where it is
    beyond loopback."""

    url: str
    site_id: str
    name: str
    password: str
    authority: str | None = None

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


def read_token(text: str) -> TokenText:
    """Raises JoinError for what is no token."""
    text = text.strip()
    try:
        return read(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), _read_text)
    except ValueError as error:
        raise JoinError("this is no token; `tieline site token SITE` prints one") from error


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a site that joins is given: its name, its password, the key that the platform's commands are signed with (in
    hexadecimal), a number that they are all above, and the part of the configuration that is its own."""

    site_id: str = ""
    password: str = ""
    command_key: str = ""
    command_number: int = 0
    config: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent elsewhere keeps, mode 0600, in `agent.json` of its folder."""

    url: str
    site_id: str
    password: str
    command_key: str
    command_number: int
    config: msgspec.Raw
    authority: str | None = None

    def save(self, folder: Path) -> None:
        private_folder(folder)
        write_private(folder / "agent.json", msgspec.json.format(msgspec.json.encode(self)))

    @classmethod
    def load(cls, folder: Path) -> Credentials:
        """Raises JoinError."""
        path = folder / "agent.json"
        try:
            return read(path.read_bytes(), _read_credentials)
        except FileNotFoundError as error:
            raise JoinError(f"{folder} has joined nothing; run: tieline join TOKEN --data-dir {folder}") from error
        except (OSError, IntakeError) as error:
            raise JoinError(f"{path}: {error}; join again with a new token") from error


_read_book = msgspec.json.Decoder(JoinBook).decode
_read_text = msgspec.json.Decoder(TokenText).decode
_read_credentials = msgspec.json.Decoder(Credentials).decode
read_welcome = msgspec.json.Decoder(Welcome).decode

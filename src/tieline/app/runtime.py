"""What every part is told when it starts: where its data lies, which doors it opens, what time it is.

Written once per start to `run/runtime.json` in the data folder (mode 0600: the passwords of the link's users come
from its secret), and read by each part's process. Nothing secret travels on a command line or in the environment.
"""

from __future__ import annotations

import socket
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tieline import config as configuration
from tieline.clock import WallClock
from tieline.config import Config
from tieline.gateway.budgets.keys import ADMIN_KEY_FILE
from tieline.store.files import write_private
from tieline.store.place import StorePlace, place_of

if TYPE_CHECKING:
    from tieline.link.transport import LinkUser

# Accounts and sessions, in the data folder.
PEOPLE_FILE = "people.db"
# Incidents and messages.
ALERTS_FILE = "alerts.db"


class LinkRoutes(msgspec.Struct, frozen=True, kw_only=True):
    """How one of several servers of the link reaches the others: HOST:PORT where it listens for them, and theirs."""

    listen: str
    others: tuple[str, ...]


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """One start of the platform."""

    version: str
    data_dir: str
    config: str | None
    speed: float
    anchor_wall: datetime
    anchor_world: datetime
    link_url: str
    link_secret: str
    # Beyond loopback: where the server listens, what sites dial, and the certificate that the server's is signed with.
    link_listen: str | None = None
    link_public: str | None = None
    link_authority: str | None = None
    console_host: str
    console_port: int
    gateway_host: str
    gateway_port: int
    model: str | None = None
    feeds: str | None = None
    rig_block: str | None = None
    console_token: str | None = None
    # Sites that two people let act; None: nobody has to.
    acting: tuple[str, ...] | None = None
    # What this machine is called; and where it is one of several (`tieline run`): the link's passwords that it was
    # given, and where its server of the link listens for the others.
    machine: str = "here"
    reach: str = ""  # what sites dial to reach it
    region: str = ""  # where it stands, of the fleet's regions; empty: as the configuration says
    shared: bool = False
    link_passwords: dict[str, str] = {}
    link_routes: LinkRoutes | None = None

    @property
    def clock(self) -> WallClock:
        if self.speed == 1.0 and self.anchor_wall == self.anchor_world:
            return WallClock()
        return WallClock(self.speed, self.anchor_wall, self.anchor_world)

    @property
    def data(self) -> Path:
        return Path(self.data_dir)

    def link_password(self, user: str) -> str:
        """The password of one of the link's users during this start."""
        from tieline.link.users import password_of  # the link's libraries are not there for commands without it

        if self.shared and user in self.link_passwords:
            return self.link_passwords[user]
        return password_of(self.link_secret, user)

    def link_user(self, user: str) -> LinkUser:
        """How a part of the platform dials the link."""
        from tieline.link.transport import LinkUser

        return LinkUser(self.link_url, user, self.link_password(user), self.link_authority)

    @property
    def console_url(self) -> str:
        return f"http://{_shown(self.console_host)}:{self.console_port}"

    @property
    def openai_base_url(self) -> str:
        return f"http://{_shown(self.gateway_host)}:{self.gateway_port}/v1"

    @property
    def store(self) -> StorePlace:
        """Where the records lie. Raises StoreError."""
        return place_of(self.data)

    @property
    def demo_key(self) -> str | None:
        """The ready tenant key, where one was made for this data folder."""
        path = self.data / "run" / "demo_key"
        return path.read_text().strip() if path.exists() else None

    def key_path(self, key_id: str, config: Config) -> Path:
        """Where the secret of a key with `generate = true` lies. The first one that is no more than a tenant's is the
        ready key; each other has a file of its own, so that no two keys ever share a secret."""
        generated = [key for tenant in config.tenants for key in tenant.keys if key.generate]
        ready = next((key.id for key in generated if key.role == "user"), None)
        return self.data / "run" / "demo_key" if key_id == ready else self.data / "run" / "keys" / key_id

    @property
    def portal_key_path(self) -> Path:
        """Where the secret lies with which the console changes tenants' keys, behind a gateway whose file has keys."""
        return self.data / "run" / "portal.key"

    def gateway_admin_path(self, config: Config) -> Path:
        """Where the console finds what administers the gateway: one without keys in its file makes its own."""
        locked = config.gateway.auth == "keys" and any(tenant.keys for tenant in config.tenants)
        return self.portal_key_path if locked else self.data / "gateway" / ADMIN_KEY_FILE

    def load_config(self) -> Config:
        """The configuration this start was given, or the demo's."""
        config = configuration.load(self.config) if self.config else configuration.demo()
        if self.feeds is not None:
            feeds = {**msgspec.structs.asdict(config.feeds), "source": self.feeds}
            config = msgspec.structs.replace(config, feeds=msgspec.convert(feeds, configuration.Feeds))
        if self.rig_block is not None:
            config = configuration.with_rig_block(config, self.rig_block)
        if self.acting is not None:
            config = configuration.with_acting(config, self.acting)
        if self.model is not None:
            config = configuration.with_engine_model(config, self.model, Path(self.model).stem)
        return config

    def save(self, name: str = "runtime.json") -> Path:
        path = self.data / "run" / name
        write_private(path, msgspec.json.format(msgspec.json.encode(self)))
        return path

    @classmethod
    def load(cls, path: Path) -> Runtime:
        return msgspec.json.decode(path.read_bytes(), type=cls)


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def port_taken(host: str, port: int) -> bool:
    """True when something already listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _shown(host: str) -> str:
    return "127.0.0.1" if host in ("", "0.0.0.0", "::") else host

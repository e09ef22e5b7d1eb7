"""`tieline up`: everything on this machine, from an empty folder to a first answer.

Checks what can be checked before anything starts (each failure is one line that says what to do), keeps one
platform per data folder with a lock, writes down what runs in `run/state.json`, and ends it all on Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import logging
import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TypedDict

import httpx
import msgspec

from tieline import __version__, records
from tieline import config as configuration
from tieline.app import worldtime
from tieline.app.acting import acting, waiting
from tieline.app.runtime import PEOPLE_FILE, Runtime, free_port, port_taken
from tieline.app.supervise import PartStatus, Supervisor, python_part, save_state
from tieline.clock import wall_now
from tieline.config import Config
from tieline.feeds.gguf import ModelFetchError, fetch_gguf
from tieline.fleet import Fleet
from tieline.people import People
from tieline.store import Store, StoreError
from tieline.store.backup import check_folder
from tieline.store.files import private_folder, write_private
from tieline.store.people import PeopleStore
from tieline.store.place import settle
from tieline.store.quarantine import count_of

log = logging.getLogger("tieline.up")

PART_NAMES = ("link", "core", "world", "sites", "gateway", "console", "alerts")
# What a first day of records, logs and outboxes needs with room to spare.
MIN_FREE_BYTES = 300_000_000
# Below this a running platform says so: about a week of records.
LOW_BYTES = 100_000_000
READY_S = 120.0
# One module of each library that a part cannot do without.
PLATFORM = ("numpy", "nats", "xllamacpp", "pyasic", "starlette", "uvicorn", "httptools", "orjson", "pyarrow")
# LuxOS and every other cgminer-like firmware answer here.
RIG_PORT = 4028


class UpError(Exception):
    """The platform cannot start; one line says why and what to do."""


class PlatformState(msgspec.Struct, frozen=True, kw_only=True):
    """What `tieline status --json` prints."""

    ready: bool
    console_url: str | None
    openai_base_url: str | None
    demo_key: str | None
    version: str
    parts: tuple[PartStatus, ...]
    pid: int | None = None
    data_dir: str | None = None
    speed: float | None = None
    world_time: datetime | None = None
    disk: str | None = None  # what is wrong with the disk, where something is
    set_aside: int = 0  # items that came in and could not be taken: `tieline quarantine list`
    lost: int = 0  # those that found no room even there


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says; None leaves it to the configuration."""

    data_dir: Path
    config: Path | None = None
    speed: float = 1.0
    console_port: int | None = None
    gateway_port: int | None = None
    model: str | None = None
    feeds: str | None = None


def prepare(options: Options) -> Runtime:
    """Check the ground and decide ports, clock and keys. Raises UpError."""
    data = options.data_dir.resolve()
    check_libraries()
    check_writable(data)
    if not 0 < options.speed < math.inf:
        raise UpError(f"--speed must be a number above 0, got {options.speed}")
    try:
        settings = configuration.load(options.config) if options.config else configuration.demo()
    except configuration.ConfigError as error:
        raise UpError(str(error)) from error
    model = _model(options.model, data)
    console_port = free_or_taken("console", settings.console.host, options.console_port, settings.console.port)
    gateway_port = free_or_taken("gateway", settings.gateway.host, options.gateway_port, settings.gateway.port)
    if console_port == gateway_port:
        raise UpError(f"console and gateway cannot share port {console_port}; give another --gateway-port")
    feeds = options.feeds
    if options.speed != 1.0:
        if (feeds or settings.feeds.source) == "live":
            raise UpError("--speed needs synthetic feeds: the live world does not run faster; give --feeds synthetic")
        feeds = "synthetic"
    wall = wall_now()
    check_data(data)
    settle_records(data, options.config, settings)
    world = worldtime.world_start(data, wall)
    runtime = Runtime(
        version=__version__,
        data_dir=str(data),
        config=str(options.config.resolve()) if options.config else None,
        speed=options.speed,
        anchor_wall=wall,
        anchor_world=world,
        **_link(data, settings.link),
        link_secret=secrets.token_urlsafe(24),
        console_host=settings.console.host,
        console_port=console_port,
        gateway_host=settings.gateway.host,
        gateway_port=gateway_port,
        model=model,
        rig_block=_rig_block(settings.fleet),
        feeds=feeds,
        acting=acting(data, settings, world),
    )
    _make_keys(runtime, settings)
    _make_key(runtime.portal_key_path)
    return runtime


async def run(options: Options, say: Callable[[str], None]) -> int:
    """Run until Ctrl-C or `tieline down`. Returns the exit code."""
    data = options.data_dir.resolve()
    os.umask(0o077)  # logs and snapshots hold what only the owner should read
    with locked(data):
        runtime = prepare(options)
        runtime_path = runtime.save()
        key = ready_key(runtime, runtime.load_config())
        state_path = data / "run" / "state.json"
        supervisor: Supervisor | None = None

        def changed() -> None:
            if supervisor is not None:
                save_state(state_path, _state(runtime, supervisor, key))

        supervisor = Supervisor(
            [python_part(name, runtime_path) for name in PART_NAMES], data / "run" / "logs", changed
        )
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(signum, supervisor.request_stop)
        started = loop.time()
        supervisor.start()
        said = asyncio.create_task(_announce(supervisor, runtime, started, say))
        clock = asyncio.create_task(worldtime.keep(data, runtime.clock))
        try:
            await supervisor.run_until_stopped()
        finally:
            said.cancel()
            clock.cancel()
            worldtime.save(data, runtime.clock)
            save_state(state_path, _state(runtime, supervisor, key))
        say("Stopped.")
    return 0


def read_state(data: Path) -> PlatformState:
    """What runs on this data folder; `ready` False with no parts when nothing does."""
    path = data.resolve() / "run" / "state.json"
    try:
        state = msgspec.json.decode(path.read_bytes(), type=PlatformState)
    except (OSError, msgspec.DecodeError):
        return _nothing()
    if state.pid is None or not _alive(state.pid) or not is_locked(data.resolve()):
        return _nothing()
    with contextlib.suppress(OSError, msgspec.DecodeError):
        runtime = Runtime.load(path.with_name("runtime.json"))
        state = msgspec.structs.replace(state, world_time=runtime.clock.now())
    held, lost = set_aside(data)
    return msgspec.structs.replace(state, disk=disk_trouble(data), set_aside=held, lost=lost)


def set_aside(data: Path) -> tuple[int, int]:
    """How many items that came in could not be taken and wait for a person, and how many were let go for want of room;
    0 also where that cannot be read now."""
    try:
        return count_of(data)
    except StoreError as error:
        log.warning("what is set aside cannot be counted: %s", error)
        return 0, 0


def disk_trouble(data: Path) -> str | None:
    """One line where the data folder has little room left; None where it has enough."""
    free = shutil.disk_usage(data).free
    if free >= LOW_BYTES:
        return None
    return f"only {free / 1e6:,.0f} MB free at {data}: what is measured and billed is lost once it is full"


def stop_running(data: Path, seconds: float = 10.0) -> bool:
    """Ask a running platform to stop and wait for it. False when none ran; raises UpError if it stays."""
    state = read_state(data)
    if state.pid is None:
        return False
    os.kill(state.pid, signal.SIGTERM)
    for _ in range(int(seconds * 20)):
        if not is_locked(data.resolve()):
            return True
        time.sleep(0.05)
    raise UpError(f"process {state.pid} did not stop within {seconds:.0f} s; end it with: kill -9 {state.pid}")


def _make_key(path: Path) -> str:
    if not path.exists():
        write_private(path, f"sk-tieline-{secrets.token_urlsafe(24)}\n".encode())
    return path.read_text().strip()


def _make_keys(runtime: Runtime, config: configuration.Config) -> list[str]:
    """The secrets of the keys with `generate = true`, each made once; a line for each but the ready one, which is
    printed itself."""
    lines = []
    for key in (key for tenant in config.tenants for key in tenant.keys if key.generate):
        path = runtime.key_path(key.id, config)
        _make_key(path)
        if path.name != "demo_key":
            lines.append(f"  Key {key.id:<12} {key.role}, in {path}\n")
    return lines


async def _announce(supervisor: Supervisor, runtime: Runtime, started: float, say: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    if not await supervisor.wait_ready(READY_S):
        broken = [f"{name}: {why}" for name, why in supervisor.troubles.items()]
        say("Not ready: " + "; ".join(broken) + f". Logs: {runtime.data / 'run' / 'logs'}")
        await _tell_changes(supervisor, runtime, say)
        return
    config = runtime.load_config()
    made = _make_keys(runtime, config)
    key = ready_key(runtime, config)
    models = await asyncio.to_thread(_models, runtime.openai_base_url, key)
    link = _first_admin(runtime)
    admin = f"  First admin      {runtime.console_url}/join#{link}  (once, for a day)\n" if link else ""
    say(
        f"\nTieline {runtime.version} runs, ready in {loop.time() - started:.1f} s. Ctrl-C stops it.\n\n"
        f"  Console          {runtime.console_url}\n"
        f"{admin}"
        f"  OpenAI base URL  {runtime.openai_base_url}\n"
        f"{_not_acting(runtime)}"
        f"{''.join(made)}{first_request(runtime.openai_base_url, config, key, models)}"
    )
    await _tell_changes(supervisor, runtime, say)


def _not_acting(runtime: Runtime) -> str:
    """A line for sites that would act by their file and ask first until two people approve."""
    text = configuration.load(runtime.config) if runtime.config else configuration.demo()
    sites = waiting(text, runtime.acting)
    if not sites:
        return ""
    named = ", ".join(sites[:5]) + (f" and {len(sites) - 5} more" if len(sites) > 5 else "")
    return f"  Asks first       {named}: two people have to let it act, see {runtime.console_url}/approvals\n"


def ready_key(runtime: Runtime, config: configuration.Config) -> str | None:
    """The secret of the first key with `generate = true` that may ask for models; None where the file has none, or the
    door asks for no key."""
    generated = [k for tenant in config.tenants for k in tenant.keys if k.generate and k.role == "user"]
    if config.gateway.auth != "keys" or not generated:
        return None
    return _make_key(runtime.key_path(generated[0].id, config))


class LinkStart(TypedDict):
    """What a start says of the link."""

    link_url: str
    link_listen: str | None
    link_public: str | None
    link_authority: str | None


def _link(data: Path, door: configuration.LinkDoor) -> LinkStart:
    """Where the link is; beyond loopback with the certificate of an authority of its own. Raises UpError."""
    if configuration.is_loopback(door.host):
        port = _link_port(data, door.host, door.port)
        url = f"nats://{_bracketed(door.host)}:{port}"
        return LinkStart(link_url=url, link_listen=None, link_public=None, link_authority=None)
    from tieline.app.joins import LINK_FOLDER, TLS_FOLDER
    from tieline.link.certificate import CertificateError, make_certificates

    if not door.name:
        raise UpError('link.name is missing; for one machine write name = "link.example.org", what sites dial')
    port = _link_port(data, door.host, door.port)
    own = "127.0.0.1" if door.host in ("0.0.0.0", "::") else door.host
    names = dict.fromkeys([door.name, own])
    try:
        authority = make_certificates(data / LINK_FOLDER / TLS_FOLDER, list(names), wall_now())
    except (CertificateError, OSError) as error:
        raise UpError(f"the link's certificate: {error}") from error
    return LinkStart(
        link_url=f"tls://{_bracketed(own)}:{port}",
        link_listen=f"{_bracketed(door.host)}:{port}",
        link_public=f"tls://{_bracketed(door.name)}:{port}",
        link_authority=authority,
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _link_port(data: Path, host: str, wanted: int) -> int:
    """The link's port: the same at every start, for sites elsewhere dial it. Raises UpError."""
    from tieline.app.joins import JoinError, changed_book  # the link's libraries: only where a platform starts

    try:
        with changed_book(data) as book:
            port = wanted or book.port
            if port is not None and not port_taken(host, port):
                book.port = port
                return port
            if wanted or any(one.password is not None for one in book.sites.values()):
                raise UpError(f"port {port} of the link is taken and sites elsewhere dial it; end what listens there")
            book.port = free_port()
            return book.port
    except JoinError as error:
        raise UpError(str(error)) from error


def _models(base_url: str, key: str | None) -> list[str] | None:
    """What the door would serve to this key; None where it cannot be asked (a key of the file's own is needed)."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{base_url}/models", headers=headers, timeout=5.0, trust_env=False)
        return [str(one["id"]) for one in answer.json()["data"]] if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def first_request(base_url: str, config: configuration.Config, key: str | None, models: list[str] | None) -> str:
    """The key and a request that answers; where there is none, why not and what would make one."""
    if config.gateway.auth == "keys" and key is None:
        ids = [k.id for tenant in config.tenants for k in tenant.keys]
        known = f"those of your file: {', '.join(ids)}" if ids else "none yet; add [[tenant.key]] with generate = true"
        return f"  Tenant keys      {known}\n"
    said = "" if key is None else f"  Tenant key       {key}\n"
    if not models:
        engines = 'add a [[model]] with engine = "llama.cpp" and a site with replicas_real, or [gateway] upstreams'
        return f"{said}  Models           none is served yet; {engines}\n"
    bearer = "" if key is None else f"-H 'Authorization: Bearer {key}' "
    body = f'{{"model":"{models[0]}","messages":[{{"role":"user","content":"What is hashprice?"}}]}}'
    return (
        f"{said}\nTry it:\n\n  curl {base_url}/chat/completions {bearer}"
        f"-H 'Content-Type: application/json' -d '{body}'\n"
    )


def _first_admin(runtime: Runtime) -> str | None:
    """The secret of the one-time link that makes the first admin, where there is none yet."""
    try:
        people = People(PeopleStore(runtime.data / PEOPLE_FILE))
    except StoreError:
        return None  # the console's part says what is wrong with it
    try:
        return people.first_link(wall_now())
    finally:
        people.store.close()


async def _tell_changes(supervisor: Supervisor, runtime: Runtime, say: Callable[[str], None]) -> None:
    """For ever: a line when a part is not well any more, with its cause, and one when all are again."""
    unready = {part.name for part in supervisor.parts if part.state != "ready"}
    while True:
        await asyncio.sleep(0.5)
        troubles = supervisor.troubles
        if set(troubles) == unready:
            continue
        unready = set(troubles)
        at = wall_now().strftime("%H:%M:%S")
        if unready:
            words = "; ".join(f"{name}: {why}" for name, why in troubles.items())
            say(f"{at} UTC  Not well: {words}. Logs: {runtime.data / 'run' / 'logs'}")
        else:
            say(f"{at} UTC  All parts are well again.")


def _state(runtime: Runtime, supervisor: Supervisor, key: str | None) -> PlatformState:
    return PlatformState(
        ready=supervisor.ready,
        console_url=runtime.console_url,
        openai_base_url=runtime.openai_base_url,
        demo_key=key,
        version=runtime.version,
        parts=tuple(part.status for part in supervisor.parts),
        pid=os.getpid(),
        data_dir=runtime.data_dir,
        speed=runtime.speed,
    )


def _nothing() -> PlatformState:
    return PlatformState(
        ready=False, console_url=None, openai_base_url=None, demo_key=None, version=__version__, parts=()
    )


def check_libraries() -> None:
    """The light install has none of these; find that out before six parts do."""
    missing = [name for name in PLATFORM if importlib.util.find_spec(name) is None]
    if missing:
        raise UpError(f"{', '.join(missing)} not installed; install the platform: pip install 'tieline[platform]'")
    engine = "import xllamacpp"
    done = subprocess.run([sys.executable, "-c", engine], capture_output=True, text=True, timeout=60)
    if done.returncode < 0:
        raise UpError(f"the engine cannot run on this processor (signal {-done.returncode}); it needs AVX2 or NEON")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        hint = "; on Debian or Ubuntu: apt-get install libgomp1" if "libgomp" in last else ""
        raise UpError(f"the engine cannot be loaded: {last}{hint}")


def check_writable(data: Path) -> None:
    try:
        private_folder(data)
        probe = data / ".probe"
        probe.write_bytes(b"x")
        probe.unlink(missing_ok=True)  # parts of one machine look at the same moment
    except OSError as error:
        raise UpError(f"cannot write to {data}: {error.strerror}; choose another folder with --data-dir") from error
    free = shutil.disk_usage(data).free
    if free < MIN_FREE_BYTES:
        raise UpError(
            f"only {free / 1e6:,.0f} MB free at {data}, {MIN_FREE_BYTES / 1e6:,.0f} MB are needed; "
            "free some space or choose another folder with --data-dir"
        )


def check_data(data: Path) -> None:
    """Every database there: ours, of a version that this one reads, its pages whole. Said before six parts find out."""
    try:
        check_folder(data)
    except StoreError as error:
        raise UpError(str(error)) from error


def settle_records(data: Path, config: Path | None, settings: Config) -> None:
    """The records lie where the configuration says, and answer. Raises UpError."""
    named = settings.store.password_file
    password = None if named is None or config is None else config.resolve().parent / named
    try:
        place = settle(data, settings.store.url, password)
        if place.url is not None:
            Store(place, records.encode, records.decode).close()
    except StoreError as error:
        raise UpError(str(error)) from error


def _model(asked: str | None, data: Path) -> str | None:
    """The local path of the model to serve; an address is fetched first, once."""
    if asked is None:
        return None
    if "://" in asked:
        try:
            return str(fetch_gguf(asked, data / "models", _show_fetch))
        except ModelFetchError as error:
            raise UpError(f"--model {error}") from error
    if not Path(asked).is_file():
        raise UpError(f"--model {asked}: no such file; give a GGUF file or an http(s) URL")
    return str(Path(asked).resolve())


def _show_fetch(done: int, total: int | None) -> None:
    of = "" if total is None else f" of {total / 1e6:,.0f}"
    print(f"\rFetching the model: {done / 1e6:,.0f}{of} MB ", end="", file=sys.stderr, flush=True)


def free_or_taken(name: str, host: str, asked: int | None, configured: int) -> int:
    port = configured if asked is None else asked
    if port == 0:
        return free_port(host)
    if not 0 < port < 65_536:
        raise UpError(f"--{name}-port must be 1 to 65535, or 0 for any free one; got {port}")
    if port_taken(host, port):
        raise UpError(f"port {port} of the {name} is taken by another program; give --{name}-port N (0: any free port)")
    return port


def _rig_block(fleet: Fleet) -> str | None:
    """A block of loopback addresses for the fake rigs when another platform holds the configured ones."""
    fake = [a for site in fleet.sites for group in site.rig_groups if group.hardware == "fake" for a in group.addresses]
    if not fake or not port_taken(fake[0], RIG_PORT):
        return None
    blocks = (f"127.0.{block}" for block in range(100, 250))
    return next((block for block in blocks if not port_taken(f"{block}.1", RIG_PORT)), None)


@contextlib.contextmanager
def locked(data: Path, name: str = "lock") -> Iterator[None]:
    """One platform per data folder."""
    check_writable(data)
    (data / "run").mkdir(exist_ok=True)
    with (data / "run" / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UpError(
                f"a platform already runs on {data}; see `tieline status`, stop it with `tieline down`"
            ) from error
        yield


def is_locked(data: Path) -> bool:
    try:
        with (data / "run" / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

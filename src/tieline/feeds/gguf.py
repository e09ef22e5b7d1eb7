"""Fetches a GGUF model file once: resumed after a break, checked by its digest where one is said, kept in a folder.

Knows nothing of engines. A file that is complete is never fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from tieline.intake import IntakeError, read

MAGIC = b"GGUF"
# A model larger than this does not run on the kind of machine that fetches by command line.
MAX_BYTES = 200_000_000_000
TRIES = 5
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


class ModelFetchError(Exception):
    """The model could not be fetched; the message says why and what to do."""


class WrongWeightsError(ModelFetchError):
    """A file whose SHA-256 is not the one that was said. Fetching it again from there does not mend it."""


class _Checked(msgspec.Struct, frozen=True):
    """A digest that was taken of a file with this size and time, so that 70 GB are read once."""

    size: int
    mtime_ns: int
    sha256: str


def check_weights(path: Path, sha256: str) -> None:
    """Raises WrongWeightsError where the file's SHA-256 (hexadecimal) is another, OSError where it cannot be read."""
    digest = digest_of(path)
    if digest != sha256.lower():
        raise WrongWeightsError(f"{path.name}: its SHA-256 is {digest[:16]}..., {sha256[:16]}... was said; not served")


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal; taken once for as long as size and time are the same. Raises OSError."""
    state, beside = path.stat(), path.with_name(path.name + ".sha256")
    with contextlib.suppress(OSError, IntakeError):
        held = read(beside.read_bytes(), _read_checked)
        if (held.size, held.mtime_ns) == (state.st_size, state.st_mtime_ns):
            return held.sha256
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError):  # a folder that is not ours to write in: it is taken again the next time
        beside.write_bytes(msgspec.json.encode(_Checked(state.st_size, state.st_mtime_ns, digest)))
    return digest


def fetch_gguf(
    url: str,
    folder: Path,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    sha256: str | None = None,
) -> Path:
    """The local path of the model at `url`. `progress(done, total)` in bytes; what it raises ends the fetching, and
    what arrived is kept. Raises ModelFetchError."""
    parts = urlsplit(url)
    name = Path(parts.path).name
    if parts.scheme not in ("http", "https") or not name.endswith(".gguf"):
        raise ModelFetchError(f"{url}: give an http(s) address that ends in .gguf")
    target, partial = folder / name, folder / f"{name}.part"
    if target.exists():
        if sha256 is not None:
            check_weights(target, sha256)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    problem = ""
    for _ in range(TRIES):
        try:
            _fetch(url, partial, progress)
            break
        except (httpx.HTTPError, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
    else:
        raise ModelFetchError(f"{url}: {problem}; what arrived is kept, try again")
    with partial.open("rb") as file:
        if file.read(4) != MAGIC:
            partial.unlink()
            raise ModelFetchError(f"{url}: what came is no GGUF file; check the address")
    if sha256 is not None:
        try:
            check_weights(partial, sha256)
        except WrongWeightsError:
            partial.unlink()
            raise
        finally:
            partial.with_name(partial.name + ".sha256").unlink(missing_ok=True)
    partial.replace(target)
    return target


def _fetch(url: str, partial: Path, progress: Callable[[int, int | None], None]) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == 416:  # nothing left to fetch
            return
        if answer.status_code >= 400:
            raise ModelFetchError(f"{url}: the server answered {answer.status_code}")
        resumed = answer.status_code == 206
        done = have if resumed else 0
        length = answer.headers.get("content-length")
        total = done + int(length) if length is not None and length.isdigit() else None
        if total is not None and total > MAX_BYTES:
            raise ModelFetchError(f"{url}: {total:,} bytes is more than the bound of {MAX_BYTES:,}")
        with partial.open("ab" if resumed else "wb") as file:
            for chunk in answer.iter_bytes(1 << 20):
                done += len(chunk)
                if done > MAX_BYTES:
                    raise ModelFetchError(f"{url}: more than the bound of {MAX_BYTES:,} bytes")
                file.write(chunk)
                progress(done, total)
        if total is not None and done < total:
            raise httpx.ReadError(f"broke off at {done:,} of {total:,} bytes")


_read_checked = msgspec.json.Decoder(_Checked).decode

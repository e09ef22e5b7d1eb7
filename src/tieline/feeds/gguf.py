"""Fetches a GGUF model file once: resumed after a break, checked by its magic bytes, kept in the data folder.

Knows nothing of engines. A file that is complete is never fetched again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

MAGIC = b"GGUF"
# A model larger than this does not run on the kind of machine that fetches by command line.
MAX_BYTES = 200_000_000_000
TRIES = 5
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


class ModelFetchError(Exception):
    """The model could not be fetched; the message says why and what to do."""


def fetch_gguf(url: str, folder: Path, progress: Callable[[int, int | None], None] = lambda done, total: None) -> Path:
    """The local path of the model at `url`. `progress(done, total)` in bytes. Raises ModelFetchError."""
    parts = urlsplit(url)
    name = Path(parts.path).name
    if parts.scheme not in ("http", "https") or not name.endswith(".gguf"):
        raise ModelFetchError(f"{url}: give an http(s) address that ends in .gguf")
    target, partial = folder / name, folder / f"{name}.part"
    if target.exists():
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

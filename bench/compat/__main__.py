"""Real clients before a running gateway: what they ask for, and what becomes of them when engines die under them.

    python -m bench.compat [--only openai-python,vercel-ai] [--cases cut_loop] [--real URL=MODEL] [--out FILE]

Each client has an environment of its own (`env/*.txt` and `node/package-lock.json`, versions locked), made on demand
below `--cache`. Its cases stand by name in `python/` and `node/`. Three kinds of model answer: one on a real engine,
where the shape of an answer is enough (llama.cpp with the self-test model is started here; `--real` names another);
a scripted one where sense is asked for, which is no model and says so; and scripted ones whose engines die once within
each answer (`cut`), or always (`lost`). A client must see the whole answer, or an error: never a part that looks whole.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.compat.clients import CACHE, CLIENTS, UnavailableError, cases_of, environment
from bench.compat.door import SELF_TEST, door


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"comma-separated clients of {', '.join(CLIENTS)}")
    parser.add_argument("--cases", default="", help="comma-separated cases")
    parser.add_argument("--real", default="", metavar="URL=MODEL", help="an engine that runs, instead of llama.cpp")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=Path("bench/out/compat.json"))
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or list(CLIENTS)
    if unknown := set(names) - CLIENTS.keys():
        raise SystemExit(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    at, _, model = options.real.partition("=")
    figures: dict[str, Any] = {}
    for name in names:
        client = CLIENTS[name]
        try:
            folder = environment(client, options.cache)
        except UnavailableError as error:
            figures[name] = {"unavailable": str(error)}
            print(f"{name:22s} not here: {error}", flush=True)
            continue
        began = time.monotonic()
        with (
            tempfile.TemporaryDirectory(prefix="tieline-compat-") as data,
            door(
                Path(data),
                *([at] if at else []),
                llama=not at,
                proxy=folder if client.proxied else None,
                real=model or SELF_TEST,
            ) as (
                g,
                told,
            ),
        ):
            found = cases_of(client, folder, g.url, real=model or SELF_TEST, cases=options.cases, extra=told)
        bad = [one for one in found if not one["ok"]]
        print(f"{name:22s} {len(found) - len(bad)} of {len(found)}   {time.monotonic() - began:.0f} s", flush=True)
        for one in bad:
            print(f"    {one['name']}: {one['note']}", flush=True)
        figures[name] = found
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"real": options.real or SELF_TEST, "clients": figures}, indent=2) + "\n")
    if any(not one["ok"] for found in figures.values() if isinstance(found, list) for one in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""Who uses a fleet while it is under test, each writing down what it asked and what came of it (`fleet_history`)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from fleet_history import History
from fleet_machines import FleetUnderTest

PATIENCE_S: Final = 30.0
# A gateway that heard the coordinator after a key was revoked refuses it a second later. One that has not heard of it
# is cut off, and says so; where nothing at all is wrong it hears within the second between two renewals.
HEARD_S, CALM_BEFORE_S = 1.0, 15.0
HEARD_METRIC: Final = "tieline_gateway_coordinator_heard_seconds "
PASSWORD: Final = "a password of this test alone"
MODEL: Final = "tieline-selftest"


@dataclass
class Seen:
    """The history, and sums over it that a run prints."""

    history: History
    reasons: Counter[str] = field(default_factory=Counter)  # of what was refused
    refused: int = 0  # asked and answered otherwise, or not connected, before it was asked again
    changes: int = 0  # keys made and revoked
    latest_s: float = 0.0  # until one was refused
    apart_s: float = 0.0  # the longest of those times in which the gateway was cut off from the coordinator
    spent: int = 0  # requests refused because the thin tenant's budget was spent

    def refusal(self, said: str) -> None:
        self.refused += 1
        self.reasons[re.sub(r"[^a-z_0-9 ]+", " ", said[:160])[:80]] += 1


_asked = itertools.count(1)


def _body(**more: Any) -> dict[str, Any]:
    """No two alike: a request that engines died of is not taken again for a while."""
    return {"model": MODEL, "messages": [{"role": "user", "content": f"Say something, {next(_asked)}."}], **more}


async def streams(fleet: FleetUnderTest, number: int, seen: Seen, over: asyncio.Event) -> None:
    """One stream after another through the balancer; one that is refused or cut is asked again for PATIENCE_S."""
    doors = [fleet.balancer] if fleet.balancer else list(fleet.doors.values())
    headers = {"authorization": f"Bearer {fleet.key('demo-key')}"}
    async with httpx.AsyncClient(timeout=8.0, trust_env=False) as http:
        turn = number
        while not over.is_set():
            one = seen.history.begin(f"client {number}", "ask")
            last, done, cuts = "", False, list[list[Any]]()
            while not done and seen.history.now() - one.began < PATIENCE_S:
                turn += 1
                told, body = _Stream(), _body(stream=True, max_tokens=12, stream_options={"include_usage": True})
                try:
                    url = f"http://{doors[turn % len(doors)]}/v1/chat/completions"
                    async with http.stream("POST", url, json=body, headers=headers) as answer:
                        if answer.status_code != 200:
                            last = f"{answer.status_code} {(await answer.aread())[:120]!r}"
                            seen.refusal(last)
                        else:
                            await told.read(answer)
                            last = "ended without its last word"
                except httpx.HTTPError as error:
                    last = type(error).__name__
                    seen.refusal(last)
                done = told.whole
                if told.request and not done:
                    cuts.append([told.request, told.delivered])
                if not done:
                    await asyncio.sleep(0.2)
            if done:
                seen.history.end(one, "ok", request=told.request, tokens=told.tokens, cuts=cuts)
            else:
                seen.history.end(one, "unanswered", why=last, cuts=cuts)
            await asyncio.sleep(0.1)


class _Stream:
    """One answer as it comes."""

    def __init__(self) -> None:
        self.request, self.tokens, self.delivered, self.whole = "", 0, 0, False

    async def read(self, answer: httpx.Response) -> None:
        self.request = answer.headers["x-request-id"]
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                self.whole = True
                return
            if line.startswith("data: "):
                chunk = json.loads(line[6:])
                usage = chunk.get("usage")
                self.tokens = self.tokens if usage is None else int(usage["completion_tokens"])
                self.delivered += any(one.get("delta", {}).get("content") for one in chunk.get("choices") or ())


async def few(fleet: FleetUnderTest, number: int, seen: Seen, over: asyncio.Event) -> None:
    """A tenant that may ask so often a minute and so many at once, and asks more, at every gateway."""
    headers, doors = {"authorization": f"Bearer {fleet.key('few-key')}"}, list(fleet.doors.items())
    turn = number
    async with httpx.AsyncClient(timeout=8.0, trust_env=False) as http:
        while not over.is_set():
            turn += 1
            name, door = doors[turn % len(doors)]
            one = seen.history.begin(f"few {number}", "few", door=name)
            result, about = "unanswered", dict[str, Any]()
            with contextlib.suppress(httpx.HTTPError, ValueError):
                body = _body(max_tokens=100)
                answer = await http.post(f"http://{door}/v1/chat/completions", json=body, headers=headers)
                result = "ok" if answer.status_code == 200 else "refused"
                about = {"status": answer.status_code, "request": answer.headers.get("x-request-id", "")}
            seen.history.end(one, result, **about)
            await asyncio.sleep(0.05 if result == "ok" else 0.25)


async def once(fleet: FleetUnderTest, seen: Seen, over: asyncio.Event) -> None:
    """Calls that are to be made once: asked again under their key at another gateway until each has answered, and then
    once more."""
    headers, doors = {"authorization": f"Bearer {fleet.key('once-key')}"}, list(fleet.doors.items())
    turn = 0
    async with httpx.AsyncClient(timeout=8.0, trust_env=False) as http:
        while not over.is_set():
            turn += 1
            key, answered, tried = f"call-{turn}", 0, 0
            body = _body(max_tokens=12, user=key)
            began = seen.history.now()
            while answered < 2 and seen.history.now() - began < PATIENCE_S:
                name, door = doors[(turn + tried) % len(doors)]
                tried += 1
                one = seen.history.begin("once", "once", key=key, door=name)
                result, about = "unanswered", dict[str, Any]()
                with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
                    own = {**headers, "idempotency-key": key}
                    answer = await http.post(f"http://{door}/v1/chat/completions", json=body, headers=own)
                    result = "ok" if answer.status_code == 200 else "refused"
                    about = {"status": answer.status_code}
                    if result == "ok":
                        told = answer.json()
                        about |= {"request": answer.headers["x-request-id"], "answer": told["id"]}
                        about |= {"tokens": told["usage"]["completion_tokens"]}
                seen.history.end(one, result, **about)
                answered += result == "ok"
                await asyncio.sleep(0.1 if result == "ok" else 0.4)
            await asyncio.sleep(0.3)


async def thin(fleet: FleetUnderTest, seen: Seen, over: asyncio.Event) -> None:
    """A tenant whose budget comes to its end: at every gateway in turn, small requests."""
    headers, doors, turn = {"authorization": f"Bearer {fleet.key('thin-key')}"}, list(fleet.doors.values()), 0
    async with httpx.AsyncClient(timeout=8.0, trust_env=False) as http:
        while not over.is_set():
            turn += 1
            with contextlib.suppress(httpx.HTTPError, ValueError):
                url = f"http://{doors[turn % len(doors)]}/v1/chat/completions"
                answer = await http.post(url, json=_body(max_tokens=8), headers=headers)
                seen.spent += answer.status_code == 429 and "insufficient_quota" in answer.text
            await asyncio.sleep(1.0 if seen.spent > 20 else 0.2)


async def administrator(fleet: FleetUnderTest, seen: Seen, over: asyncio.Event) -> None:
    """Makes a key at one gateway, sees it taken at another, revokes it there, and sees it refused at the first."""
    doors, root, turn = list(fleet.doors.items()), {"authorization": f"Bearer {fleet.key('root-key')}"}, 0
    async with httpx.AsyncClient(timeout=4.0, trust_env=False) as http:
        while not over.is_set():
            turn += 1
            (here, one), (there, other) = doors[turn % len(doors)], doors[(turn + 1) % len(doors)]
            with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
                made = (await http.post(f"http://{one}/admin/keys", json={"tenant": "demo"}, headers=root)).json()
                secret, name = made["key"], made["id"]
                await asyncio.sleep(1.0)
                gone = await http.delete(f"http://{other}/admin/keys/{name}", headers=root)
                if gone.status_code == 200:
                    revoked = time.monotonic()
                    seen.changes += 1
                    calm = max(fleet.troubled.values(), default=0.0) < revoked - CALM_BEFORE_S
                    late = await _until_refused(http, one, secret, revoked, seen, calm=calm)
                    if late:
                        why = f"key {name}, revoked at {there}, is taken at {here}: {late}"
                        seen.history.note("administrator", "revoked", "taken", why=why)
            await asyncio.sleep(0.5)


async def _until_refused(
    http: httpx.AsyncClient, door: str, secret: str, revoked: float, seen: Seen, *, calm: bool
) -> str:
    """What was wrong with how long a gateway took a revoked key; "": nothing. It is asked first since when it has not
    heard of the coordinator, so that the time between the two counts for it."""
    first = float("inf")  # when it heard of the coordinator after that, at the latest
    while True:
        asked = time.monotonic()
        metrics = (await http.get(f"http://{door}/metrics")).text
        told = metrics.partition("\n" + HEARD_METRIC)[2].split()
        heard = asked - float(told[0]) if told else float("-inf")  # a version before does not say
        before = time.monotonic()
        shown = {"authorization": f"Bearer {secret}"}
        if (await http.get(f"http://{door}/v1/models", headers=shown)).status_code != 200:
            return ""
        after = before - revoked
        seen.latest_s = max(seen.latest_s, after)
        first = min(first, heard) if heard > revoked else first
        if before - first > HEARD_S:
            return f"it heard the coordinator {first - revoked:.2f} s after that and took the key at {after:.2f} s"
        if heard <= revoked:
            seen.apart_s = max(seen.apart_s, after)
            if calm and after > 2 * HEARD_S:
                return f"nothing was wrong for {CALM_BEFORE_S:.0f} s and it did not hear of it in {after:.2f} s"
        await asyncio.sleep(0.1)


async def onlooker(fleet: FleetUnderTest, seen: Seen, over: asyncio.Event) -> None:
    """Signs in once, at one console, and looks at each site at either; where one does not show it, at the other."""
    link = (await asyncio.to_thread(fleet.say, "people", "add", "boss", "--role", "admin", "--data-dir",
                                    str(fleet.folder / "a"))).split()[0].partition("#")[2]  # fmt: skip
    pages, sites, turn = list(fleet.consoles.items()), list(fleet.sites.values()), 0
    async with httpx.AsyncClient(timeout=4.0, trust_env=False, headers={"x-tieline": "console"}) as http:
        form = {"link": link, "name": "Boss", "password": PASSWORD}
        joined = await http.post(f"http://{pages[0][1]}/api/join", json=form)
        joined.raise_for_status()
        cookie = {"cookie": f"tieline_session={joined.cookies['tieline_session']}"}
        http.cookies.clear()  # one host's; both are shown the same session here
        while not over.is_set():
            turn += 1
            site, (name, _) = sites[turn % len(sites)], pages[turn % len(pages)]
            one = seen.history.begin("onlooker", "look", site=site, first=name)
            said, tried = "", turn
            while said != "ok" and seen.history.now() - one.began < PATIENCE_S:
                said = await _shown(http, pages[tried % len(pages)][1], site, cookie)
                tried += 1
                await asyncio.sleep(0.0 if said == "ok" else 0.3)
            result = "ok" if said == "ok" else "unanswered"
            seen.history.end(one, result, why=said, by=pages[(tried - 1) % len(pages)][0])
            await asyncio.sleep(0.7)


async def _shown(http: httpx.AsyncClient, page: str, site: str, cookie: dict[str, str]) -> str:
    try:
        answer = await http.get(f"http://{page}/api/site/{site}", headers=cookie)
        if answer.status_code != 200:
            return f"{answer.status_code} {answer.text[:100]}"
        return "ok" if answer.json()["site"]["id"] == site else "another site"
    except (httpx.HTTPError, ValueError, LookupError) as error:
        return type(error).__name__

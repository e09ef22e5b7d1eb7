"""Channels: how one message leaves, and whether it arrived.

A webhook gets JSON with a signature (HMAC-SHA256 over time and body); everything else (e-mail, Slack, ntfy, PagerDuty,
a hundred more) goes through Apprise by its address. Addresses are secrets: a channel names the environment variable
that holds its own. Redirects are not followed and nothing is waited for longer than ten seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from typing import Final

import httpx

from tieline.config.sections import AlertChannel

ANSWER_S: Final = 10.0
# The first retry after a few seconds, then further apart; the last after an hour. Then a person reads it on the page.
AGAIN_S: Final = (5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)


class ChannelError(Exception):
    """The message did not arrive; the text says why, without the channel's address."""


async def send(channel: AlertChannel, title: str, words: str, body: bytes, now_s: float) -> None:
    """Deliver one message. Raises ChannelError."""
    address = os.environ.get(channel.url_env, "")
    if not address:
        raise ChannelError(f"{channel.url_env} is not set: export the channel's address under that name")
    try:
        async with asyncio.timeout(ANSWER_S + 1):
            if channel.kind == "webhook":
                await _post(channel, address, body, now_s)
            else:
                await _apprise(address, title, words)
    except TimeoutError as error:
        raise ChannelError(f"no answer within {ANSWER_S:.0f} s") from error


def signature(secret: str, now_s: float, body: bytes) -> str:
    """What a receiver computes anew: `t=<seconds>,v1=<hex of HMAC-SHA256(secret, "<seconds>." + body)>`."""
    stamp = str(int(now_s))
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest}"


async def _post(channel: AlertChannel, address: str, body: bytes, now_s: float) -> None:
    headers = {"content-type": "application/json", "user-agent": "tieline"}
    secret = os.environ.get(channel.secret_env, "") if channel.secret_env else ""
    if secret:
        headers["x-tieline-signature"] = signature(secret, now_s, body)
    try:
        async with httpx.AsyncClient(timeout=ANSWER_S, follow_redirects=False, trust_env=False) as client:
            answer = await client.post(address, content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ChannelError(f"not delivered: {type(error).__name__}") from error
    if not 200 <= answer.status_code < 300:
        raise ChannelError(f"answered {answer.status_code}")


async def _apprise(address: str, title: str, words: str) -> None:
    try:
        import apprise
    except ImportError as error:
        raise ChannelError("apprise is not installed; install it with: pip install 'tieline[alerts]'") from error
    notifier = apprise.Apprise()
    if not notifier.add(address):
        raise ChannelError("its address is none that Apprise knows")
    if not await notifier.async_notify(body=words, title=title):
        raise ChannelError("not delivered; Apprise does not say why")

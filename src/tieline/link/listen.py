"""Listeners that no message can end: what is no record is counted and named once, and the next one is read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from tieline.intake import MAX_MESSAGE, IntakeError
from tieline.link.transport import Link
from tieline.records import Accepted, AnyRecord, admit, checked, encode, read_record
from tieline.tasks import ignore

T = TypeVar("T")

# One page of an answer, in records and bytes, and how many pages one question may have.
PAGE, PAGE_BYTES, MOST_PAGES = 1_000, MAX_MESSAGE // 2, 200

log = logging.getLogger("tieline.link")

# The same subject's refusals are logged again after this long, with how many there were.
LOG_AGAIN_S = 300.0
FOLLOW_AGAIN_S = 0.5
# A site whose own clock is slow must still obey: what comes from the core may look a day ahead.
SLOW_CLOCK = timedelta(days=1)


class Ignored:
    """How many messages of one subject were not taken; the first is logged, then the count every five minutes."""

    def __init__(self, subject: str) -> None:
        self.subject, self.count = subject, 0
        self._said_at, self._said = float("-inf"), 0

    def add(self, error: Exception) -> None:
        """One more, and why."""
        self.count += 1
        ignore()
        now = asyncio.get_running_loop().time()
        if now - self._said_at < LOG_AGAIN_S:
            return
        more = self.count - self._said - 1
        again = f" ({more} more since it was last said)" if more else ""
        failed = None if isinstance(error, IntakeError) else error
        what = "is not let in" if failed is None else "could not be worked with"
        log.warning("a message on %s %s: %s%s", self.subject, what, str(error)[:300], again, exc_info=failed)
        self._said_at, self._said = now, self.count


async def heed(
    link: Link,
    subject: str,
    decode: Callable[[bytes], T],
    take: Callable[[T], object],
    check: Callable[[str, T], object] | None = None,
) -> None:
    """For ever: what is published on `subject` is decoded and handed to `take`. No message ends this, whatever it
    holds and whatever `take` makes of it, and a link that is away is followed again. `decode` raises IntakeError, and
    so does `check` for what may not be said on the subject it came on: that is what the link holds of who spoke."""
    ignored = Ignored(subject)
    while True:
        try:
            async for said_on, data in link.follow(subject):
                try:
                    frame = decode(data)
                    if check is not None:
                        check(said_on, frame)
                    take(frame)
                except Exception as error:  # any: one message costs itself, never the listener
                    ignored.add(error)
        except (OSError, RuntimeError) as error:
            log.info("%s cannot be followed now: %s", subject, error)
        await asyncio.sleep(FOLLOW_AGAIN_S)


async def heed_records(
    link: Link,
    subject: str,
    take: Callable[[AnyRecord], object],
    now: Callable[[], datetime],
    check: Callable[[str, AnyRecord], object] | None = None,
) -> None:
    """The same for records, which pass the gate first."""
    await heed(link, subject, lambda data: checked(read_record(data), now(), SLOW_CLOCK), take, check)


def page_after(records: Iterable[AnyRecord], asked: bytes) -> bytes:
    """The answer to one asking: what comes after the record that the question names (all, where it names none), in the
    order of `_place`, as much of it as one message holds."""
    after = asked.decode("utf-8", "replace")
    page: list[bytes] = []
    size = 0
    for one in sorted(records, key=_place):
        if _place(one) > after:
            page.append(encode(one))
            size += len(page[-1]) + 1
            if len(page) == PAGE or size > PAGE_BYTES:
                break
    return b"[" + b",".join(page) + b"]"


def _place(record: AnyRecord) -> str:
    return f"{type(record).__name__}|{record.key}"


async def ask(link: Link, subject: str, now: datetime, timeout_s: float) -> list[AnyRecord]:
    """All records that the far side answers with, one or a list of them, asked page by page; those that are none are
    left out and named. Raises LinkDownError where nobody answers, IntakeError where an answer is neither, or goes on
    without an end."""
    records: list[AnyRecord] = []
    for _ in range(MOST_PAGES):
        after = _place(records[-1]) if records else ""
        data = (await link.request(subject, after.encode(), timeout_s)).strip()
        page = _admitted(subject, data, now)
        records += [one for one in page if _place(one) > after]
        full = data.startswith(b"[") and (len(page) >= PAGE or len(data) > PAGE_BYTES)
        if not full:
            return records
        if _place(page[-1]) <= after:
            break
    raise IntakeError(f"the answer to {subject} does not end")


def _admitted(subject: str, data: bytes, now: datetime) -> list[AnyRecord]:
    if not data:
        return []
    admitted = admit(data if data.startswith(b"[") else b"[" + data + b"]", now, SLOW_CLOCK, MAX_MESSAGE)
    taken = [one.record for one in admitted if isinstance(one, Accepted)]
    for one in admitted:
        if not isinstance(one, Accepted):
            log.warning("of the answer to %s, %s is not let in: %s", subject, one.name, one.why)
            break
    if admitted and not taken:
        raise IntakeError(f"nothing in the answer to {subject} is a record")
    return taken

"""What a gateway and its engines said to each other, connection by connection, and the exchanges in it."""

from __future__ import annotations

import json
from typing import Any

from tieline.gateway.wire.http1 import Framing, Unchunker, parse_response


class Talk:
    """The bytes of one connection. `frames`: of the answer that is under way."""

    frames = 0

    def __init__(self) -> None:
        self.asked, self.said = bytearray(), bytearray()

    def exchanges(self) -> list[dict[str, Any]]:
        """Requests and their answers, in order; the last answer may be cut short."""
        asked, said, found = bytes(self.asked), bytes(self.said), []
        while asked:
            head, _, asked = asked.partition(b"\r\n\r\n")
            method, path, _ = head.split(b" ", 2)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
            body, asked = asked[:length], asked[length:]
            first, _, said = said.partition(b"\r\n\r\n")
            if not first:
                break
            answer = parse_response(first + b"\r\n\r\n")
            cut = False
            if answer.framing is Framing.CHUNKED:
                chunks = Unchunker()
                text = b"".join(chunks.feed(said))
                cut, said = not chunks.done, chunks.rest
            else:
                text, said = said[: answer.length], said[answer.length :]
            if method == b"POST":
                one = {"path": path.decode(), "body": json.loads(body), "status": answer.status, "cut": cut}
                if answer.streamed:
                    one["frames"] = [frame + "\n\n" for frame in text.decode().split("\n\n") if frame]
                else:
                    one["answer"] = json.loads(text)
                found.append(one)
        return found


class Tape:
    """All connections that there were since `begin`."""

    def __init__(self) -> None:
        self._talks: list[Talk] = []

    def talk(self) -> Talk:
        """A connection that begins."""
        self._talks.append(Talk())
        return self._talks[-1]

    def begin(self) -> None:
        """Between two requests: nothing is under way."""
        for one in self._talks:
            one.asked.clear()
            one.said.clear()

    def end(self) -> list[dict[str, Any]]:
        return [one for talk in self._talks for one in talk.exchanges()]

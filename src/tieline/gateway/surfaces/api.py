"""The paths of the other forms: who asks in which, what is kept of it, and what may be read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from tieline.gateway import errors
from tieline.gateway.budgets.admit import KeyAccount
from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.requests import body as bodies
from tieline.gateway.requests.body import Request
from tieline.gateway.requests.continuity.resume_calls import Continuing, PromptRefusedError
from tieline.gateway.routing.route import Want
from tieline.gateway.service import Service
from tieline.gateway.surfaces import conversations, messages, responses
from tieline.gateway.surfaces.chat import Surface
from tieline.gateway.surfaces.conversations import Conversations
from tieline.gateway.surfaces.kept import Shelf, StoredResponse
from tieline.gateway.surfaces.messages import Messages
from tieline.gateway.surfaces.responses import Responses
from tieline.gateway.wire import loose
from tieline.gateway.wire.client import ClientConnection
from tieline.gateway.wire.decoding import read_json
from tieline.gateway.wire.http1 import JSON_HEADERS, RequestHead

_encode = msgspec.json.Encoder().encode

SURFACES: Final = {"/v1/responses": "responses", "/v1/messages": "messages"}
COUNT: Final = "/v1/messages/count_tokens"


class Surfaces:
    """Of one process."""

    def __init__(self, svc: Service, folder: Path) -> None:
        self.svc = svc
        self.shelf = Shelf(folder / "responses", self._now_s)
        self.kept = Conversations(self.shelf, self._now_s)

    def _now_s(self) -> float:
        return self.svc.clock.now().timestamp()

    # --- requests -------------------------------------------------------------------

    def request(
        self, surface: str, connection: ClientConnection, account: KeyAccount, body: bytes, continuity: bytes | None
    ) -> Request | Refusal:
        """The chat that is meant, with whom its answer is said by."""
        try:
            plain = read_json(body)
        except msgspec.DecodeError as error:
            return bad_request(f"the body is not a JSON object: {error}", "invalid_json")
        if not isinstance(plain, dict):
            return bad_request("the body is not a JSON object", "invalid_json")
        made: Surface
        if surface == "messages":
            chat = messages.to_chat(plain)
            made = Messages(connection, str(plain.get("model")))
        else:
            before = self._before(plain, owner_of(account))
            if isinstance(before, Refusal):
                return before
            chat = responses.to_chat(plain, before)
            owner = owner_of(account)
            keeps = plain.get("store") is not False
            save = (lambda one: self._save(one, owner, before)) if keeps else None
            made = Responses(connection, plain, self._now_s, save)
        if isinstance(chat, Refusal):
            return chat
        request = bodies.read("chat", loose.encode(chat), continuity)
        if isinstance(request, Request):
            request.surface, request.client = surface, made
        return request

    def _before(self, plain: dict[str, Any], owner: str) -> list[dict[str, Any]] | Refusal:
        """What this conversation has said so far."""
        earlier, conversation = plain.get("previous_response_id"), _id(plain.get("conversation"))
        if earlier is not None and conversation is not None:
            return bad_request("'previous_response_id' and 'conversation' exclude each other", "invalid_value")
        for name, id_ in (("previous_response_id", earlier), ("conversation", conversation)):
            if id_ is None:
                continue
            stored = self.shelf.get(str(id_), owner)
            if stored is None:
                return Refusal(404, f"there is no {name} {str(id_)[:80]!r} here", "not_found", param=name)
            return stored.items
        return []

    def _save(self, made: Responses, owner: str, before: list[dict[str, Any]]) -> bool:
        """Keep a response that has ended, and the conversation that it belongs to."""
        given = responses.items(made.asked.get("input"))
        said = [*before, *conversations.as_items(given if isinstance(given, list) else []), *made.output]
        stored = self.shelf.put(StoredResponse(made.id, owner, said, made.response("completed"), {}, made.created))
        conversation = _id(made.asked.get("conversation"))
        if conversation is not None and (old := self.shelf.get(conversation, owner)) is not None:
            stored = self.shelf.put(msgspec.structs.replace(old, items=conversations.as_items(said))) and stored
        return stored

    # --- tokens of a message -----------------------------------------------------------

    async def count(self, connection: ClientConnection, account: KeyAccount, body: bytes) -> None:
        """Tokens of a message's prompt, by an engine's own template and tokenizer."""
        try:
            plain = read_json(body)
        except msgspec.DecodeError as error:
            connection.refuse(bad_request(f"the body cannot be read: {error}", "invalid_json"))
            return
        chat = messages.to_chat(plain, counts=True) if isinstance(plain, dict) else bad_request("no JSON object")
        if isinstance(chat, Refusal):
            connection.refuse(chat)
            return
        request = bodies.read("chat", loose.encode(chat | {"max_tokens": 1}))
        if isinstance(request, Refusal):
            connection.refuse(request)
            return
        offer = self.svc.offer(request.model)
        if offer is None or (account.models and offer.name not in account.models):
            connection.refuse(errors.unknown_model(request.model))
            return
        refusal = request.beyond(offer)
        if refusal is not None:
            connection.refuse(refusal)
            return
        want = Want(offer.name, regions=account.regions, tenant=account.tenant.id)
        try:
            counted = await Continuing(self.svc).count_prompt(request, offer, want)
        except PromptRefusedError as error:
            connection.refuse(bad_request(str(error), "engine_refused"))
            return
        if counted is None:
            connection.refuse(
                Refusal(503, "no engine of this model can count tokens now", "no_capacity", retry_after_s=2)
            )
        else:
            connection.answer(200, JSON_HEADERS, _encode({"input_tokens": counted}))

    # --- what is kept ---------------------------------------------------------------------

    @staticmethod
    def handles(path: str) -> bool:
        return path.startswith(conversations.PATHS)

    def handle(self, connection: ClientConnection, head: RequestHead, body: bytes, account: KeyAccount) -> None:
        """What is kept of responses and conversations."""
        self.kept.handle(connection, head, body, owner_of(account))


def owner_of(account: KeyAccount) -> str:
    """Whose it is: a tenant's project."""
    return f"{account.key.tenant}/{account.key.project}"


def _id(conversation: Any) -> str | None:
    given = conversation.get("id") if isinstance(conversation, dict) else conversation
    return None if given is None else str(given)

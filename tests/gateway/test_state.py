"""A request's phases: what may follow what, and that nothing else does."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tieline.gateway
from tieline.gateway.budgets.admit import KeyAccount, Ticket
from tieline.gateway.requests import body, failover
from tieline.gateway.requests.failover import Next
from tieline.gateway.requests.state import KeptText, Phase, RequestState
from tieline.gateway.settings import Key, Model, ModelOffer, Tenant

BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true}'


def state(memory: int = 1_000) -> RequestState:
    request = body.read("chat", BODY)
    assert isinstance(request, body.Request)
    account = KeyAccount(
        Key(id="k", sha256="0" * 64, tenant="t"), Tenant(id="t"), (), False, frozenset(), frozenset(), (), ()
    )
    offer = ModelOffer.of(Model(name="m"))
    return RequestState(request, offer, account, Ticket(1, account, 0), 10, "req_1", 0.0, KeptText(memory))


def test_what_is_done_stays_done_and_what_ends_does_not_begin_again() -> None:
    for path in (
        (Phase.DONE, Phase.DONE),
        (Phase.CONNECTING, Phase.ENDING, Phase.STREAMING),
        (Phase.STREAMING,),
        (Phase.CONNECTING, Phase.STREAMING, Phase.RESUMING, Phase.STREAMING),
        (Phase.RESUMING, Phase.MOVING),
    ):
        one = state()
        for phase in path[:-1]:
            one.turn(phase)
        with pytest.raises(AssertionError, match=f"{one.phase.value} -> {path[-1].value}"):
            one.turn(path[-1])


def test_every_phase_can_be_left_but_the_last_and_every_one_be_reached() -> None:
    words = {phase.value for phase in Phase}
    assert all(phase.after <= words for phase in Phase)
    assert [phase for phase in Phase if not phase.after] == [Phase.DONE]
    assert set().union(*(phase.after for phase in Phase)) == words


def test_a_request_that_delivered_nothing_is_asked_again_and_one_that_did_goes_on() -> None:
    one, attempt = state(), SimpleNamespace(ended="died")
    lost: Any = attempt
    one.turn(Phase.CONNECTING)
    one.tries = 1
    assert failover.lost(one, lost, lost, None) is Next.AGAIN
    one.tries = failover.MAX_TRIES
    assert failover.lost(one, lost, lost, None) is Next.GIVE_UP
    one.keep("text")
    assert failover.lost(one, lost, lost, None) is Next.RESUME
    assert failover.lost(one, lost, None, lost) is Next.STAY
    assert failover.lost(one, lost, lost, SimpleNamespace()) is Next.PROMOTE  # type: ignore[arg-type]
    assert failover.lost(one, lost, None, None) is Next.NOTHING
    one.finish, one.finishes = "stop", 1
    assert failover.lost(one, lost, lost, None) is Next.COMPLETE


def test_what_is_no_longer_remembered_is_given_back_and_cannot_be_gone_on_from() -> None:
    one = state(memory=100)
    one.keep("a")
    assert (one.delivered, one.unkept, one.memory.used) == (True, False, 65)
    one.keep("b" * 50)
    assert (one.delivered, one.unkept, one.memory.used, one.tokens) == (True, True, 0, 2)


def test_no_two_files_of_the_gateway_know_each_other() -> None:
    """Imports for types count: two files that need each other's types are one mind in two files."""
    root = Path(tieline.gateway.__file__).parent
    modules = {
        ".".join(("tieline.gateway", *file.relative_to(root).with_suffix("").parts)): file
        for file in root.rglob("*.py")
        if file.name != "__init__.py"
    }
    imports = {name: _imports(file) & modules.keys() for name, file in modules.items()}
    while leaves := [name for name, known in imports.items() if not known]:
        for name in leaves:
            del imports[name]
        imports = {name: known & imports.keys() for name, known in imports.items()}
    assert not imports, f"these, or some of them, know each other: {', '.join(sorted(imports))}"


def _imports(file: Path) -> set[str]:
    known: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            known |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
        elif isinstance(node, ast.Import):
            known |= {one.name for one in node.names}
    return known

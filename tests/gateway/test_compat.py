"""A selection of `bench/compat`: clients that install in seconds, before a gateway whose engines die under them.

Skipped with its reason where a client can neither be found in the cache nor had from its registry.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.compat.clients import CLIENTS, UnavailableError, cases_of, environment
from bench.compat.door import door

# The cases that are not about sense alone: agent loops, state kept here, and deaths.
SELECTED = {
    "anthropic-python": (
        "raw_stream,system_and_turns,tools,tool_runner,image,missing_model,cut_stream,cut_tools,lost_stream"
    ),
    "openai-agents-python": (
        "run_streamed,tools_streamed,output_type,session,conversation_session,previous_response,handoff,cut_loop,"
        "cut_loop_not_streamed,cut_chat_loop,lost_loop"
    ),
    "openai-node": (
        "chat_tools,chat_parse,responses_tools,conversations,cut_stream,cut_responses,lost_stream,lost_responses"
    ),
    "vercel-ai": "",
}


@pytest.mark.parametrize("name", SELECTED)
def test_a_client_gets_what_it_asks_for_or_is_told(name: str, tmp_path: Path) -> None:
    client = CLIENTS[name]
    try:
        folder = environment(client, timeout_s=90.0)
    except UnavailableError as error:
        pytest.skip(f"a client is not to be had here: {name}, {error}")
    with door(tmp_path, llama=False) as (g, told):
        found = cases_of(client, folder, g.url, cases=SELECTED[name], extra=told)
        assert not [one for one in found if not one["ok"]]
        assert [one["name"] for one in found] == (SELECTED[name] or ",".join(one["name"] for one in found)).split(",")
        billed = g.usage()
    cut = sum("cut" in one["name"] for one in found)
    again = [one for one in billed if one.model == "cut" and one.status == 200 and len(one.hops) > 1]
    assert len(again) >= cut > 0  # each of these cases met a death
    lost = [one for one in billed if one.model == "lost"]
    assert lost
    assert all(one.status != 200 for one in lost)

"""LangChain's own standard suite, `ChatOpenAI` before a running gateway.

Two engines serve it. The self-test model runs on real llama.cpp and takes every case that asks for the shape of an
answer. Cases that ask for sense (call this tool with that number, follow an agent's loop) are more than a model of
that size has; a scripted engine stands in for them and says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from tests.gateway.able import Able
from tests.gateway.aside import gateway
from tests.gateway.engines import Llama
from tests.gateway.rig import Gateway, free_port

pytestmark = [
    # One loop for all: the client keeps its connections between tests.
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:The test .* is marked with '@pytest.mark.asyncio'"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema"),
]

SENSE = frozenset(
    {
        "test_tool_calling", "test_tool_calling_async", "test_tool_choice", "test_tool_calling_with_no_arguments",
        "test_agent_loop", "test_bind_runnables_as_tools", "test_structured_output_pydantic_2_v1",
        "test_structured_output_optional_param", "test_json_mode", "test_unicode_tool_call_integration",
    }
)  # fmt: skip

# What no model here takes, and a case that compares with recordings of its provider.
NOT_OFFERED = frozenset(
    {
        "test_pdf_inputs", "test_audio_inputs", "test_image_inputs", "test_image_tool_message",
        "test_pdf_tool_message", "test_anthropic_inputs", "test_stream_time",
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    engine = Llama(free_port())
    engine.start()
    with gateway(tmp_path_factory.mktemp("gateway"), engine.url, scripted=(Able(),), models=()) as g:
        yield g
    engine.stop()


class TestChatOpenAI(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def _at(self, door: Gateway, request: pytest.FixtureRequest) -> None:
        self._url = door.url
        if request.node.originalname in NOT_OFFERED:
            pytest.skip("LangChain's case is about media that no model here takes, or about recordings")

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": "tieline-self-test", "base_url": self._url, "api_key": "any", "temperature": 0,
            "max_tokens": 100, "stream_usage": True, "max_retries": 0,
        }  # fmt: skip

    @property
    def model_override_value(self) -> str:
        return "scripted"

    @property
    def supports_image_inputs(self) -> bool:
        return False

    @property
    def supports_json_mode(self) -> bool:
        return True

    @pytest.fixture
    def model(self, request: pytest.FixtureRequest, door: Gateway) -> ChatOpenAI:
        name = "scripted" if request.node.originalname in SENSE else "tieline-self-test"
        extra = getattr(request, "param", None) or {}
        return ChatOpenAI(**{**self.chat_model_params, "model": name, "base_url": door.url, **extra})


def test_the_suite_ran_here(door: Gateway) -> None:
    """What LangChain asked for was answered and billed by this gateway, by both engines."""
    billed = [u for u in door.usage() if u.status == 200]
    assert len([u for u in billed if u.model == "tieline-self-test" and not u.estimated]) >= 20
    assert len([u for u in billed if u.model == "scripted"]) >= 10
    assert not [u for u in door.usage() if u.status >= 500]

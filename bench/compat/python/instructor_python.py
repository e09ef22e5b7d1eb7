"""instructor: typed answers by tools and by schema, whole and in parts."""

from __future__ import annotations

import instructor
import openai
from cases import CUT, LOST, SENSE, URL, case, main, told
from pydantic import BaseModel

ASK = [{"role": "user", "content": "Describe 'Aurora' with 3 feeders"}]


class Site(BaseModel):
    name: str
    feeders: int


WANTED = {"name": "Aurora", "feeders": 3}


def client(mode: instructor.Mode) -> instructor.Instructor:
    return instructor.from_openai(openai.OpenAI(base_url=URL, api_key="any", max_retries=0), mode=mode)


def ask(mode: instructor.Mode, model: str = SENSE) -> dict[str, object]:
    found = client(mode).chat.completions.create(model=model, messages=ASK, response_model=Site, max_retries=0)
    return found.model_dump()


@case
def by_tools() -> None:
    assert ask(instructor.Mode.TOOLS) == WANTED


@case
def by_schema() -> None:
    assert ask(instructor.Mode.JSON_SCHEMA) == WANTED


@case
def in_parts() -> None:
    parts = list(
        client(instructor.Mode.TOOLS).chat.completions.create_partial(model=SENSE, messages=ASK, response_model=Site)
    )
    assert len(parts) > 1
    assert (parts[-1].name, parts[-1].feeders) == ("Aurora", 3)


@case
def cut_in_parts() -> None:
    parts = list(
        client(instructor.Mode.TOOLS).chat.completions.create_partial(model=CUT, messages=ASK, response_model=Site)
    )
    assert (parts[-1].name, parts[-1].feeders) == ("Aurora", 3)


@case
def cut_whole() -> None:
    assert ask(instructor.Mode.JSON_SCHEMA, CUT) == WANTED


@case
def lost_in_parts() -> str:
    given = {"model": LOST, "messages": ASK, "response_model": Site}
    return told(Exception, lambda: list(client(instructor.Mode.TOOLS).chat.completions.create_partial(**given)))


if __name__ == "__main__":
    main()

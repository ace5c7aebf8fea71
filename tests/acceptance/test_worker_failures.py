"""A model that fails ends its generation as `failed` with a code: text kept, nothing changed."""

from pathlib import Path
from typing import Any

import pytest

from jobs.generation import Generation, Kind, State
from jobs.store.personas import read_persona
from tests.jobs.at_work import OWNER, Work, at_work, names_of, text_of
from tests.services import free_port

SHORT: dict[str, Any] = {
    "relay_first_token_timeout_seconds": 1.0,
    "relay_token_timeout_seconds": 0.3,
}


async def failed(work: Work, asked: Generation, code: str, text: str) -> Generation:
    """It ended as this failure, with this text as its partial turn and in its stream."""
    ended = await work.ended(asked)
    events = await work.told(asked)
    assert ended.state is State.FAILED
    assert ended.error is not None
    assert (ended.error.code, bool(ended.error.message)) == (code, True)
    assert events[-1].name == "failed"
    assert events[-1].data["generation"]["error"]["code"] == code
    assert text_of(events) == text
    turns = await work.turns(asked)
    if text:
        assert ended.output is not None
        assert (ended.output.text, ended.output.persona_version) == (text, None)
        assert (ended.output.files, ended.output.skills) == ((), ())
        assert turns[-1] == ("assistant", text, True)
    else:
        assert ended.output is None
        assert turns[-1][0] == "user"
    return ended


@pytest.mark.parametrize(
    ("model", "code", "text"),
    [
        ("demo-fast-tokens-9-errorevent-after-3", "model_error", "t1 t2 t3"),
        ("demo-fast-tokens-9-badjson-after-3", "model_error", "t1 t2 t3"),
        ("demo-fast-html", "model_error", ""),
        ("demo-status-400", "model_error", ""),
        ("demo-fast-tokens-9-silent-after-3", "model_timeout", "t1 t2 t3"),
        ("demo-fast-tokens-9-comments-after-3", "model_timeout", "t1 t2 t3"),
        ("demo-fast-silent", "model_timeout", ""),
        ("demo-fast-tokens-9-truncated-after-3", "model_truncated", "t1 t2 t3"),
        ("demo-fast-tokens-9-broken-after-3", "model_truncated", "t1 t2 t3"),
        ("demo-status-503", "model_error", ""),
        ("demo-fast-empty", "empty_answer", ""),
    ],
)
async def test_a_chat_fails_with_the_reason_and_keeps_its_text(
    redis_url: str, sqlite_url: str, tmp_path: Path, model: str, code: str, text: str
) -> None:
    async with at_work(redis_url, sqlite_url, tmp_path, **SHORT) as work:
        await work.hire()
        await failed(work, await work.ask("Hello", model=model), code, text)
        assert await work.upstreams() == 0


async def test_an_endpoint_that_is_not_there_is_model_unavailable(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    async with at_work(redis_url, sqlite_url, tmp_path, openai_base_url=nobody, **SHORT) as work:
        await work.hire()
        ended = await failed(work, await work.ask("Hello"), "model_unavailable", "")
        assert ended.error is not None
        assert ended.error.retryable


async def test_too_much_text_is_cut_at_the_limit(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    async with at_work(redis_url, sqlite_url, tmp_path, relay_max_output_characters=10) as work:
        await work.hire()
        asked = await work.ask("x" * 9 + "🎉É!", model="demo-fast-echo")
        await failed(work, asked, "output_too_long", "x" * 9 + "🎉")


async def test_what_lasts_too_long_ends_as_timeout(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    async with at_work(
        redis_url, sqlite_url, tmp_path, relay_generation_timeout_seconds=0.5
    ) as work:
        await work.hire()
        asked = await work.ask("Hello", model="demo-fast-tokens-9-silent-after-3")
        await failed(work, asked, "timeout", "t1 t2 t3")
        assert await work.upstreams() == 0


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("demo-fast-text", "no_files"),
        ("demo-fast-dictated-truncated-after-0-round-2", "model_truncated"),
        ("demo-fast-dictated-silent-round-2", "model_timeout"),
        ("demo-fast-dictated-status-500-round-2", "model_error"),
    ],
)
async def test_a_generate_that_fails_leaves_its_persona_at_version_0(
    redis_url: str, database_url: str, tmp_path: Path, model: str, code: str
) -> None:
    async with at_work(redis_url, database_url, tmp_path, **SHORT) as work:
        await work.hire()
        call = ("write_file", {"path": "persona.md", "content": "Ada"})
        skill = ("use_skill", {"name": "negotiation"})
        asked = await work.dictate(("Here.", call, skill), "Done.", model=model)
        ended = await work.ended(asked)
        events = await work.told(asked)
        if code != "no_files":
            assert names_of(events)[-3:] == ["file", "skill", "failed"]
        await failed(work, asked, code, text_of(events))
        assert ended.persona_id is not None
        assert (await read_persona(work.db, OWNER, ended.persona_id)).version == 0
        assert await work.sql("SELECT count(*) FROM persona_files") == [(0,)]


async def test_a_refine_that_fails_leaves_its_persona_as_it_was(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    async with at_work(redis_url, sqlite_url, tmp_path, **SHORT) as work:
        await work.hire()
        made = await work.dictate(("", ("write_file", {"path": "persona.md", "content": "Ada"})))
        await work.ended(made)
        asked = await work.dictate(
            ("Bye.", ("delete_file", {"path": "persona.md"})),
            "Done.",
            kind=Kind.REFINE,
            persona_id=made.persona_id,
            model="demo-fast-dictated-broken-after-0-round-2",
        )
        await failed(work, asked, "model_truncated", "Bye.")
        assert made.persona_id is not None
        persona = await read_persona(work.db, OWNER, made.persona_id)
        assert (persona.version, [file.path for file in persona.files]) == (1, ["persona.md"])


async def test_an_upstream_that_comes_back_before_its_first_token_costs_nothing(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        await work.hire()
        asked = await work.ask("Hello", model="demo-fast-tokens-3-flaky-2-503")
        ended = await work.ended(asked)
        assert ended.state is State.COMPLETED
        assert ended.attempt == 1
        assert ended.output is not None
        assert ended.output.text == "t1 t2 t3"
        assert len(await work.requests()) == 3


async def test_usage_of_whole_rounds_is_kept_when_a_later_one_fails(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    async with at_work(redis_url, sqlite_url, tmp_path, **SHORT) as work:
        await work.hire()
        call = ("write_file", {"path": "persona.md", "content": "Ada"})
        asked = await work.dictate(
            ("Here.", call), "Done.", model="demo-fast-dictated-silent-round-2"
        )
        ended = await work.ended(asked)
        assert ended.usage is not None
        assert ended.usage.output_tokens > 0

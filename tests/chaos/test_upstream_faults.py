"""What goes wrong at the model is never taken for an answer, and what it said is kept."""

import asyncio

import pytest

from tests.chaos.conftest import TOKEN_TIMEOUT
from tests.chaos.system import System
from tests.chaos.waves import assert_whole, wave, words

# Script, error code, text that is kept.
FAULTS = (
    ("demo-pace-90-words-20-truncated-after-7", "model_truncated", words(7)),
    ("demo-pace-90-words-20-broken-after-8", "model_truncated", words(8)),
    ("demo-pace-90-words-20-badjson-after-9", "model_error", words(9)),
    ("demo-pace-90-words-20-errorevent-after-6", "model_error", words(6)),
    ("demo-pace-90-words-20-silent-after-5", "model_timeout", words(5)),
    ("demo-pace-90-words-20-comments-after-4", "model_timeout", words(4)),
    ("demo-fast-silent", "model_timeout", ""),
    ("demo-fast-comments", "model_timeout", ""),
    ("demo-html", "model_error", ""),
    ("demo-empty", "empty_answer", ""),
    ("demo-status-401", "model_error", ""),
    ("demo-status-500", "model_error", ""),
    ("demo-status-429", "model_error", ""),
)


async def test_no_fault_of_the_model_is_ever_completed(system: System) -> None:
    readers = await asyncio.gather(*(system.asked(model) for model, _, _ in FAULTS))
    ended: dict[str, tuple[str, str, str]] = {}
    for reader, (model, _, _) in zip(readers, FAULTS, strict=True):
        await reader.finished(30)
        resource = await system.resource(reader.generation_id)
        kept = [text for role, text, partial in await system.turns(reader.generation_id) if partial]
        assert reader.text == "".join(kept) == (resource["output"] or {"text": ""})["text"]
        ended[model] = (resource["state"], resource["error"]["code"], reader.text)
        assert resource["attempt"] == 1
        assert reader.resets == []
    assert ended == {model: ("failed", code, text) for model, code, text in FAULTS}
    await system.at_rest(within=2)


async def test_a_cut_connection_to_the_model_is_no_answer_and_its_text_is_kept(
    system: System,
) -> None:
    readers = await wave(system, 6, "demo-words-60-pace-20")
    assert await system.upstreams() == 6
    assert system.model_link.abort() >= 6
    for reader in readers:
        await reader.finished(5)
        ended = await system.resource(reader.generation_id)
        assert ended["state"] == "failed"
        assert ended["error"]["code"] in ("model_error", "model_truncated")
        assert words(60).startswith(reader.text)
        assert (await system.turns(reader.generation_id))[1:] == [("assistant", reader.text, True)]


@pytest.mark.long
async def test_a_killed_model_ends_what_it_was_saying_and_is_asked_again_when_it_is_back(
    system: System,
) -> None:
    readers = await wave(system, 4, "demo-words-60-pace-20")
    pid = system.model.kill()
    for reader in readers:
        await reader.finished(5)
        assert (await system.resource(reader.generation_id))["state"] == "failed"
    await system.model.start()
    assert system.model.pid != pid
    later = await system.asked("demo-words-7-pace-50")
    await assert_whole(system, later, words(7))


@pytest.mark.long
async def test_a_dead_link_to_the_model_is_bounded_by_the_token_silence(
    system: System,
) -> None:
    readers = await wave(system, 4, "demo-words-60-pace-20")
    system.model_link.black_hole()
    for reader in readers:
        await reader.finished(TOKEN_TIMEOUT + 3)
        ended = await system.resource(reader.generation_id)
        assert (ended["state"], ended["error"]["code"]) == ("failed", "model_timeout")
    assert system.model_link.counts.held
    system.model_link.heal()
    await system.at_rest()

"""Personas over HTTP: made, refined, their files and zips, and deleted."""

import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from hashlib import sha256

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.export import zip_stream
from relay.feed import Feed
from tests.relay.edge import EdgeRelay
from tests.relay.heard import Heard, heard

FILES = {"a/persona.md": "# Ada\n", "script.html": "<script>alert(1)</script>", "ü.txt": "ü🙂"}


async def made_persona(relay: EdgeRelay) -> str:
    """A persona at version 1 with FILES."""
    generation = await relay.persona()
    await relay.complete(generation["id"], "done", written=FILES)
    return str(generation["persona_id"])


async def test_a_persona_is_there_at_version_0_from_the_start(relay: EdgeRelay) -> None:
    answer = await relay.post("/v1/personas", {"name": "Ada", "brief": "an engineer"})
    assert answer.status_code == 202
    generation = answer.json()
    assert generation["kind"] == "generate"
    assert generation["input"] == "an engineer"
    persona = (await relay.client.get(f"/v1/personas/{generation['persona_id']}")).json()
    assert persona["name"] == "Ada"
    assert persona["version"] == 0
    assert persona["files"] == []
    assert persona["conversation_id"] == generation["conversation_id"]


async def test_two_personas_may_share_a_name(relay: EdgeRelay) -> None:
    first, second = await relay.persona("Ada"), await relay.persona("Ada")
    assert first["persona_id"] != second["persona_id"]
    page = (await relay.client.get("/v1/personas")).json()
    assert [one["id"] for one in page["data"]] == [second["persona_id"], first["persona_id"]]


async def test_a_refine_goes_into_the_conversation_of_its_persona(relay: EdgeRelay) -> None:
    persona_id = await made_persona(relay)
    persona = (await relay.client.get(f"/v1/personas/{persona_id}")).json()
    refined = await relay.post(f"/v1/personas/{persona_id}/refine", {"message": "shorter"})
    assert refined.status_code == 202
    assert refined.json()["kind"] == "refine"
    assert refined.json()["conversation_id"] == persona["conversation_id"]
    waiting = await relay.post(
        f"/v1/personas/{persona_id}/refine", {"message": "again", "on_active": "queue"}
    )
    assert waiting.status_code == 202


async def test_a_file_comes_with_its_etag_as_text_that_runs_nothing(relay: EdgeRelay) -> None:
    persona_id = await made_persona(relay)
    for path, content in FILES.items():
        answer = await relay.client.get(f"/v1/personas/{persona_id}/files/{path}")
        assert answer.text == content
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["etag"] == f'"{sha256(content.encode()).hexdigest()}"'


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', "*"])
async def test_a_file_that_the_caller_has_is_not_sent_again(relay: EdgeRelay, form: str) -> None:
    path = f"/v1/personas/{await made_persona(relay)}/files/script.html"
    etag = (await relay.client.get(path)).headers["etag"]
    answer = await relay.client.get(path, headers={"If-None-Match": form.format(etag)})
    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["etag"] == etag
    other = await relay.client.get(path, headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


async def test_a_file_can_be_read_at_an_older_version(relay: EdgeRelay) -> None:
    persona_id = await made_persona(relay)
    refined = await relay.post(f"/v1/personas/{persona_id}/refine", {"message": "change it"})
    await relay.complete(refined.json()["id"], "", written={"a/persona.md": "# Grace\n"})
    path = f"/v1/personas/{persona_id}/files/a/persona.md"
    assert (await relay.client.get(path)).text == "# Grace\n"
    assert (await relay.client.get(path, params={"version": 1})).text == "# Ada\n"
    assert (await relay.client.get(path, params={"version": 3})).status_code == 404
    for wrong in ("0", "-1", "x", "", "1.0"):
        answer = await relay.client.get(path, params={"version": wrong})
        assert answer.status_code == 422
        assert answer.json()["field"] == "version"
    versions = (await relay.client.get(f"/v1/personas/{persona_id}/versions")).json()
    assert [one["version"] for one in versions["data"]] == [2, 1]


def unzipped(answer: httpx.Response) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


async def test_an_export_holds_the_files_of_the_newest_version(relay: EdgeRelay) -> None:
    persona_id = await made_persona(relay)
    answer = await relay.client.get(f"/v1/personas/{persona_id}/export")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert persona_id in answer.headers["content-disposition"]
    assert unzipped(answer) == FILES
    again = await relay.client.get(f"/v1/personas/{persona_id}/export")
    assert again.content == answer.content


async def test_an_export_of_version_0_is_an_empty_zip(relay: EdgeRelay) -> None:
    generation = await relay.persona()
    answer = await relay.client.get(f"/v1/personas/{generation['persona_id']}/export")
    assert unzipped(answer) == {}


names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30)


@settings(max_examples=50)
@given(st.dictionaries(names, st.text(st.characters(codec="utf-8"), max_size=2000), max_size=5))
async def test_a_streamed_zip_gives_back_every_file(files: dict[str, str]) -> None:
    async def each() -> AsyncIterator[tuple[str, str]]:
        for item in files.items():
            yield item

    data = b"".join([part async for part in zip_stream(each())])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert [archive.read(entry).decode() for entry in archive.infolist()] == list(
            files.values()
        )
        assert archive.namelist() == list(files)


async def test_a_zip_is_sent_file_by_file() -> None:
    read: list[int] = []

    async def each() -> AsyncIterator[tuple[str, str]]:
        for number in range(50):
            read.append(number)
            yield f"{number}.txt", chr(97 + number % 26) * 10_000

    sizes = []
    async for part in zip_stream(each()):
        sizes.append(len(part))
        assert len(read) == min(len(sizes), 50)
    assert max(sizes) < 10_000


async def test_a_deleted_persona_is_gone_and_its_work_cancelled(relay: EdgeRelay) -> None:
    generation = await relay.persona()
    path = f"/v1/personas/{generation['persona_id']}"
    answer = await relay.client.delete(path)
    assert answer.status_code == 204
    assert answer.content == b""
    assert (await relay.client.get(path)).status_code == 404
    assert (await relay.client.delete(path)).status_code == 404
    assert (await relay.client.get("/v1/personas")).json()["data"] == []
    ended = (await relay.client.get(f"/v1/generations/{generation['id']}")).json()
    assert ended["state"] == "cancelled"


async def test_a_deletion_is_told_to_the_owners_feed_once(relay: EdgeRelay) -> None:
    first, second = [await made_persona(relay) for _ in range(2)]
    feed = Feed(relay.services.sources, "local")
    async with aclosing(feed.events()) as events:
        await anext(events)
        for persona_id, status in ((first, 204), (first, 404), (second, 204)):
            answer = await relay.client.delete(f"/v1/personas/{persona_id}")
            assert answer.status_code == status
        told: list[Heard] = []
        while len(told) < 2:
            told += heard([await anext(events)])
    feed.close()
    assert [(one.event, one.data) for one in told] == [
        ("deleted", {"personas": [persona_id], "generations": []}) for persona_id in (first, second)
    ]

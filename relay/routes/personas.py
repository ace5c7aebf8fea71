"""Personas: made, refined, listed, read, deleted (protocol §4); their files are in `files.py`."""

import logging

from starlette.responses import Response

from jobs.deleted import Deletion
from jobs.errors import JobsError
from jobs.generation import Kind
from jobs.store.commits import CancelOutcome
from jobs.store.pages import Page
from jobs.store.personas import (
    PersonaItem,
    PersonaResource,
    PersonaVersion,
    delete_persona,
    list_personas,
    list_versions,
    read_persona,
)
from jobs.store.reads import read_generation
from relay.bodies import CreatePersona, RefinePersona, read_body
from relay.queries import limit, page_cursor, path_id
from relay.routes.operation import PAGING, Answer, Call, Operation, json_answer
from relay.routes.starting import STARTED, STARTING, Wish, start
from relay.streaming import announce_cancel

logger = logging.getLogger(__name__)


async def create(call: Call) -> Response:
    """Makes a persona at version 0 and starts the generation of its first version."""
    body = await read_body(call.request, CreatePersona)
    asked = body.value
    wish = Wish(kind=Kind.GENERATE, input=asked.brief, model=asked.model, name=asked.name)
    return await start(call, body.canonical, wish)


async def refine(call: Call) -> Response:
    """Continues the persona's conversation with a message."""
    body = await read_body(call.request, RefinePersona)
    asked = body.value
    wish = Wish(
        kind=Kind.REFINE,
        input=asked.message,
        model=asked.model,
        persona_id=call.request.path_params["id"],
        on_active=asked.on_active,
    )
    return await start(call, body.canonical, wish)


async def list_page(call: Call) -> Response:
    """The owner's personas, newest first."""
    most, cursor = limit(call.request), page_cursor(call.request)
    return json_answer(await list_personas(call.services.db, call.access.owner, most, cursor))


async def read(call: Call) -> Response:
    """A persona at its newest version."""
    persona_id = path_id(call.request)
    return json_answer(await read_persona(call.services.db, call.access.owner, persona_id))


async def list_versions_page(call: Call) -> Response:
    """A persona's versions, newest first."""
    most, cursor = limit(call.request), page_cursor(call.request)
    persona_id = path_id(call.request)
    owner = call.access.owner
    return json_answer(await list_versions(call.services.db, owner, persona_id, most, cursor))


async def delete(call: Call) -> Response:
    """Hides a persona, and cancels what runs or waits in its conversation."""
    services, owner = call.services, call.access.owner
    persona_id = path_id(call.request)
    deleted = await delete_persona(services.db, owner, persona_id)
    await services.signals.deleted(owner, Deletion(personas=(persona_id,)))
    try:
        for generation_id in (*deleted.ended, *deleted.stopping):
            generation = await read_generation(services.db, owner, generation_id)
            ended_now = generation_id in deleted.ended
            await announce_cancel(services, owner, CancelOutcome(generation, ended_now, None))
    except JobsError as error:
        # It is deleted: workers and readers find that out by themselves, only later.
        logger.warning("the end of a deleted persona's work was not announced: %s", error)
    return Response(status_code=204)


OPERATIONS = (
    Operation(
        "POST",
        "/v1/personas",
        create,
        "Make a persona from a brief",
        "generate",
        STARTED,
        body=CreatePersona,
        parameters=STARTING,
        refusals=(429,),
    ),
    Operation(
        "GET",
        "/v1/personas",
        list_page,
        "List personas, newest first",
        "read",
        {200: (Answer("A page", Page[PersonaItem]),)},
        parameters=PAGING,
        refusals=(422,),
    ),
    Operation(
        "GET",
        "/v1/personas/{id}",
        read,
        "Read a persona at its newest version",
        "read",
        {200: (Answer("The persona", PersonaResource),)},
        refusals=(404,),
    ),
    Operation(
        "DELETE",
        "/v1/personas/{id}",
        delete,
        "Delete a persona and cancel its work",
        "generate",
        {204: (Answer("It is hidden"),)},
        refusals=(404,),
    ),
    Operation(
        "POST",
        "/v1/personas/{id}/refine",
        refine,
        "Continue a persona's conversation",
        "generate",
        STARTED,
        body=RefinePersona,
        parameters=STARTING,
        refusals=(404, 409, 429),
    ),
    Operation(
        "GET",
        "/v1/personas/{id}/versions",
        list_versions_page,
        "List a persona's versions, newest first",
        "read",
        {200: (Answer("A page", Page[PersonaVersion]),)},
        parameters=PAGING,
        refusals=(404, 422),
    ),
)

"""A persona's files: one by its path, or all of them as a zip (protocol §4)."""

from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from jobs.clean import unacceptable
from jobs.errors import NotFound
from jobs.store.exports import export_files
from jobs.store.personas import FileContent, read_file
from relay.export import zip_stream
from relay.queries import VersionNumber, path_id, version
from relay.routes.operation import Answer, Call, Operation, Parameter

# A model wrote it: a browser must show it as text and run nothing in it.
_AS_TEXT = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cache-Control": "private, no-cache",
}


async def read(call: Call) -> Response:
    """One file's content, as plain text whatever its name says; raises NotFound."""
    asked = version(call.request)
    persona_id = path_id(call.request)
    path = call.request.path_params["path"]
    if unacceptable(path):
        raise NotFound(path)
    file = await read_file(call.services.db, call.access.owner, persona_id, path, asked)
    headers = _AS_TEXT | {"ETag": f'"{file.sha256}"'}
    if _matches(call.request.headers.get("if-none-match", ""), file.sha256):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type="text/plain")


async def export(call: Call) -> Response:
    """The newest version's files as a zip, made while it is sent."""
    persona_id = path_id(call.request)
    files = export_files(call.services.db, call.access.owner, persona_id)
    # The first file is read before the answer begins: a refusal can still be one.
    first = await anext(files, None)
    return StreamingResponse(
        zip_stream(_contents(first, files)),
        headers={
            "Content-Disposition": f'attachment; filename="{persona_id}.zip"',
            "Cache-Control": "private, no-cache",
        },
        media_type="application/zip",
    )


async def _contents(
    first: FileContent | None, others: AsyncIterator[FileContent]
) -> AsyncIterator[tuple[str, str]]:
    if first is not None:
        yield first.path, first.content
    async for file in others:
        yield file.path, file.content


def _matches(if_none_match: str, sha256: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or f'"{sha256}"' in tags


OPERATIONS = (
    Operation(
        "GET",
        "/v1/personas/{id}/files/{path}",
        read,
        "Read a file of a persona",
        "read",
        {
            200: (Answer("Its content", str, "text/plain", ("ETag",)),),
            304: (Answer("It is what `If-None-Match` names"),),
        },
        parameters=(
            Parameter("version", "Which version's; the newest when absent", VersionNumber),
            Parameter("If-None-Match", "ETags that the caller has", place="header"),
        ),
        refusals=(404, 422),
    ),
    Operation(
        "GET",
        "/v1/personas/{id}/export",
        export,
        "Export a persona's newest version as a zip",
        "read",
        {200: (Answer("The zip", str, "application/zip"),)},
        refusals=(404,),
    ),
)

"""`GET /models`: what may be asked, for clients that look before they ask."""

from starlette.responses import Response

from jobs.errors import NotFound
from relay.protocols.openai_responses.errors import REFUSALS
from relay.protocols.openai_responses.objects import Json
from relay.routes.operation import Answer, Call, Operation, json_answer

_MODELS = "/openai/v1/models"


class ModelNotFound(NotFound):
    """No request may name this model."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.args = (f"The model '{name}' does not exist",)


async def list_models(call: Call) -> Response:
    """The default model, and those that are named in `RELAY_MODELS`."""
    names = call.services.settings.jobs.offered_models
    return json_answer({"object": "list", "data": [_model(name) for name in names]})


async def retrieve_model(call: Call) -> Response:
    """A model that a request may name; raises ModelNotFound."""
    name = call.request.path_params["id"]
    if not call.services.settings.jobs.allows_model(name):
        raise ModelNotFound(name)
    return json_answer(_model(name))


def _model(name: str) -> Json:
    # Since when there is such a model, nobody here knows.
    return {"id": name, "object": "model", "created": 0, "owned_by": "persona-relay"}


OPERATIONS = (
    Operation(
        "GET",
        _MODELS,
        list_models,
        "List the models",
        "read",
        {200: (Answer("All that may be named", Json),)},
        refused=REFUSALS,
    ),
    Operation(
        "GET",
        f"{_MODELS}/{{id:path}}",
        retrieve_model,
        "Retrieve a model",
        "read",
        {200: (Answer("The model", Json),)},
        refusals=(404,),
        refused=REFUSALS,
    ),
)
"""What clients ask before they name a model."""

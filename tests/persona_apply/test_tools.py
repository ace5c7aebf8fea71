"""The tools that a model is offered take what the rules take."""

import json

from persona_apply import TOOLS, Catalogue, Draft, Persona, Refused, Skill, ToolCall, tools_for


def test_the_three_tools_are_offered_in_the_form_of_chat_completions() -> None:
    assert [tool["type"] for tool in TOOLS] == ["function"] * 3
    assert [tool["function"]["name"] for tool in TOOLS] == [
        "write_file",
        "delete_file",
        "use_skill",
    ]
    json.dumps(TOOLS)


def test_arguments_that_fit_the_schema_are_accepted() -> None:
    draft = Draft.of(Persona("", "", {"a": ""}, ()), Catalogue.default())
    for tool in TOOLS:
        parameters = tool["function"]["parameters"]
        assert parameters["additionalProperties"] is False
        assert set(parameters["required"]) == set(parameters["properties"])
        arguments = json.dumps(dict.fromkeys(parameters["required"], "a"))
        _, outcome = draft.take(ToolCall("c", tool["function"]["name"], arguments))
        assert not isinstance(outcome, Refused)


def test_the_skill_tool_names_the_catalogue() -> None:
    catalogue = Catalogue((Skill("one", "One", (), "d", "i"), Skill("two", "Two", (), "d", "i")))
    properties = tools_for(catalogue)[2]["function"]["parameters"]["properties"]
    assert properties["name"]["description"] == "One of: one, two"

"""The table of problems is whole, its codes are closed, and every answer can be read as JSON."""

import json
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from jobs import database_errors, errors
from relay import errors as edge_errors
from relay.errors import InvalidField, RelayError
from relay.problems import _TABLE, MEANINGS, Code, problem_response, refusal_of


def leaves(kind: type[Exception]) -> Iterator[type[Exception]]:
    """The classes of errors that are raised, below this one."""
    for one in kind.__subclasses__():
        if one.__module__ in (errors.__name__, edge_errors.__name__):
            yield from leaves(one) if one.__subclasses__() else [one]


def test_every_error_of_the_project_has_an_answer() -> None:
    expected = {*leaves(errors.JobsError), *leaves(RelayError), database_errors.CommitUnknown}
    assert expected <= set(_TABLE)


def test_every_code_says_what_it_means() -> None:
    assert set(MEANINGS) == set(Code)


@given(st.text(st.characters()), st.text(st.characters()))
def test_a_refusal_is_readable_whatever_it_quotes(field: str, reason: str) -> None:
    answer = problem_response(refusal_of(InvalidField(field, reason)), "id")
    problem = json.loads(bytes(answer.body))
    assert answer.status_code == problem["status"] == 422
    assert len(answer.body) < 8000


def test_an_error_without_a_place_in_the_table_shows_nothing() -> None:
    answer = problem_response(refusal_of(ValueError("the inside")), "id")
    assert answer.status_code == 500
    assert b"inside" not in bytes(answer.body)

"""Strict structuring of other people's classes: what `test_settings` does not reach."""

from typing import Annotated

from attrs import frozen

from liveman.config import Secret
from liveman.errors import Fault
from liveman.strict import key_path, structure_strictly


def even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


def lower(text: str) -> str:
    return text.lower()


EMPTY = Secret()


@frozen
class Options:
    size: Annotated[int, "a note for other tools", even, lambda value: value // 2]
    name: Annotated[Secret, lower] = EMPTY


def test_forms_are_applied_in_their_order_and_other_notes_passed_over() -> None:
    assert structure_strictly({"size": 8, "name": "ABC"}, Options) == (Options(4, Secret("abc")), [])


def test_faults_stand_below_the_path_that_is_given() -> None:
    assert structure_strictly({"size": 3, "nam": "x"}, Options, "extra_ice.acme") == (
        None,
        [
            Fault("extra_ice.acme.size", "must be even"),
            Fault("extra_ice.acme.nam", 'is no known key; did you mean "name"?'),
        ],
    )
    wrong = structure_strictly([], Options, "extra_ice.acme")[1]
    assert wrong == [Fault("extra_ice.acme", "must be a table of keys, not a single value or a list")]


def test_odd_keys_are_quoted_in_a_path() -> None:
    assert key_path("a", "b-c_1") == "a.b-c_1"
    assert key_path("", "a.b") == '"a.b"'

"""Errors for the user, and the hint at their end."""

import pytest

from pcpad import errors
from pcpad.errors import UserError, did_you_mean


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name.startswith("User") and name != "UserError"])
def test_each_is_one_of_python_s_own_too(name):
    kind = getattr(errors, name)
    own = [base for base in kind.__mro__ if base.__module__ == "builtins" and base.__name__ == name[len("User") :]]
    assert issubclass(kind, UserError)
    assert own
    message = "said"
    with pytest.raises(own[0], match=message):
        raise kind(message)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({}, " Did you mean reflect?"),
        ({"form": "{!r}"}, " Did you mean 'reflect'?"),
        ({"most": 2}, " Did you mean reflect or reflex?"),
        ({"most": 2, "between": ", "}, " Did you mean reflect, reflex?"),
        ({"cutoff": 1.0}, ""),
    ],
)
def test_the_nearest_names_are_suggested(options, hint):
    assert did_you_mean("reflec", iter(["zeros", "reflex", "reflect"]), **options) == hint


def test_what_is_no_text_and_what_is_like_nothing():
    assert did_you_mean(3, ["zeros"]) == ""
    assert did_you_mean("zeros", []) == ""

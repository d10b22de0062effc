"""Warnings of what will go away, and that it goes away."""

import ast
import inspect
import pickle
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.version import Version

import pcpad
from pcpad import _renamed
from pcpad.deprecation import deprecated, renamed_attributes, renamed_keywords, warn_renamed

ROOT = Path(__file__).resolve().parent.parent.parent
mark = deprecated(since="0.2.0", removed="0.4.0", use="pcpad.new")
FOLDERS = ("pcpad", "tasks", "datamodules", "commands", "cli.py")


@mark
def old(x=1):
    """The function's."""
    return x + 1


@mark
class Old:
    """The class's."""

    def __init__(self, x=1):
        self.x = x

    @mark
    def method(self):
        return self.x


def test_it_names_what_to_use_and_blames_the_caller():
    with pytest.warns(FutureWarning) as caught:
        assert old(2) == 3
    (warning,) = caught
    assert str(warning.message) == (
        f"{__name__}.old is deprecated since pcpad 0.2.0 and will be removed in 0.4.0: use pcpad.new."
    )
    assert warning.filename == __file__
    assert (old.__name__, old.__doc__) == ("old", "The function's.")


def test_each_place_is_told_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            old()
        old()
    assert [warning.lineno - caught[0].lineno for warning in caught] == [0, 1]


def test_methods_classes_and_who_inherits_from_them():
    with pytest.warns(FutureWarning, match=r"\.Old is deprecated"):
        it = Old(3)
    with pytest.warns(FutureWarning, match=r"\.Old\.method is deprecated"):
        assert it.method() == 3
    with pytest.warns(FutureWarning, match=r"\.Old is deprecated"):

        class Younger(Old):
            pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(Younger(), Old)
    assert pickle.loads(pickle.dumps(it)).x == 3
    assert Old.__doc__ == "The class's."


renamed = renamed_keywords(removed="0.4.0", colour="color")
aliased = renamed_attributes(removed="0.4.0", colour="color")


@renamed
def paint(label, color=None, *, thick=1):
    """The function's."""
    return label, color, thick


class Pen:
    @renamed
    def draw(self, color):
        return color


@renamed
@aliased
@dataclass
class Ink:
    """The dataclass's."""

    color: str


@renamed
@aliased
class Dot(NamedTuple):
    """The tuple's."""

    x: int
    color: str = "black"


@pytest.mark.parametrize(
    ("call", "result", "name"),
    [
        (lambda: paint(1, colour="red"), (1, "red", 1), "paint"),
        (lambda: paint(label=1, thick=2, colour="red"), (1, "red", 2), "paint"),
        (lambda: Pen().draw(colour="red"), "red", "Pen.draw"),
        (lambda: Ink(colour="red"), Ink("red"), "Ink"),
        (lambda: Dot(1, colour="red"), Dot(1, "red"), "Dot"),
    ],
    ids=["function", "all-keywords", "method", "dataclass", "named-tuple"],
)
def test_old_keywords_are_taken_and_warn_the_caller(call, result, name):
    with pytest.warns(
        FutureWarning, match=rf"^`colour` of {name} is called `color` now; .* in pcpad 0\.4\.0"
    ) as caught:
        assert call() == result
    assert [warning.filename for warning in caught] == [__file__]


def test_present_keywords_are_silent_and_nothing_else_changes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert paint(1, "red") == paint(1, color="red") == (1, "red", 1)
        assert pickle.loads(pickle.dumps([Ink("red"), Dot(1)])) == [Ink(color="red"), Dot(1, "black")]
        assert Dot(1)._replace(color="red") == (1, "red")
    assert list(inspect.signature(Dot).parameters) == ["x", "color"]
    assert list(inspect.signature(Ink).parameters) == ["color"]
    assert (paint.__name__, paint.__doc__, Dot.__doc__) == ("paint", "The function's.", "The tuple's.")


def test_an_old_keyword_beside_the_present_one_is_refused():
    with pytest.raises(TypeError, match="paint got both `color` and `colour`, its old name: pass `color` alone"):
        paint(1, color="red", colour="blue")
    with pytest.raises(TypeError, match="multiple values for argument 'color'"), pytest.warns(FutureWarning):
        paint(1, "red", colour="blue")
    with pytest.raises(TypeError, match="unexpected keyword argument 'hue'"):
        paint(1, hue="blue")


def test_old_attributes_read_and_write_the_present_ones():
    ink = Ink("red")
    with pytest.warns(FutureWarning, match=r"^Ink\.colour is called color now; .* removed in pcpad 0\.4\.0") as caught:
        assert ink.colour == "red"
    assert caught[0].filename == __file__
    with pytest.warns(FutureWarning, match=r"Ink\.colour"):
        ink.colour = "blue"
    assert ink == Ink("blue")
    with pytest.warns(FutureWarning, match=r"Dot\.colour"):
        assert Dot(1).colour == "black"


def test_old_names_blame_the_line_asked_for():
    def read():
        warn_renamed("`a` of X", "`b`", removed="0.4.0", stacklevel=2)

    with pytest.warns(FutureWarning, match=r"^`a` of X is called `b` now; .* removed in pcpad 0\.4\.0\.$") as caught:
        read()
    assert caught[0].filename == __file__


def test_one_process_of_a_machine_warns(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_renamed("a", "b", removed="0.4.0")


def removals(source):
    """Line and version of all that is called with `removed=`."""
    for node in ast.walk(ast.parse(source)) if re.search(r"\bremoved\s*=", source) else ():
        for keyword in node.keywords if isinstance(node, ast.Call) else ():
            if keyword.arg == "removed":
                assert isinstance(keyword.value, ast.Constant), f"line {node.lineno}: write the version there"
                yield node.lineno, Version(keyword.value.value)


def overdue(source, version):
    """Lines of what was to be gone by a version."""
    return [line for line, removed in removals(source) if Version(version) >= removed]


def test_what_is_overdue_is_found():
    source = (
        '@deprecated(since="0.1.0", removed="0.3.0", use="g")\ndef f(): ...\nwarn_renamed("a", "b", removed="0.4.0")\n'
    )
    assert overdue(source, "0.2.9") == []
    assert overdue(source, "0.3.0") == [1]
    assert overdue(source, "1.0.0") == [1, 3]


def test_nothing_is_there_beyond_its_version():
    files = [
        file for part in FOLDERS for file in ([ROOT / part] if part.endswith(".py") else (ROOT / part).rglob("*.py"))
    ]
    sources = {file: file.read_text(encoding="utf-8") for file in files if file.name != "deprecation.py"}
    assert sum(1 for source in sources.values() for _ in removals(source)) >= 2
    late = [
        f"{file.relative_to(ROOT)}:{line}"
        for file, text in sources.items()
        for line in overdue(text, pcpad.__version__)
    ]
    assert late == [], "remove it, and say so in CHANGELOG.md"
    assert Version(pcpad.__version__) < Version(_renamed.REMOVED), "remove the old paths of pcpad/_renamed.py"

"""What the verbs' parser says."""

import pytest

from pcpad.commands.parser import Parser


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--mask", "x.png"], "unrecognized arguments: --mask x.png Did you mean --masks?"),
        (["--maks=x.png"], "unrecognized arguments: --maks=x.png Did you mean --masks?"),
        (["--nothing"], "unrecognized arguments: --nothing\n"),
        (["more"], "unrecognized arguments: more\n"),
    ],
)
def test_an_option_that_is_not_there(typed, said, capsys):
    parser = Parser(prog="pcpad verb", allow_abbrev=False)
    parser.add_argument("--masks")
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(typed)
    assert said in capsys.readouterr().err

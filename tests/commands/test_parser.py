"""What the verbs' parser says."""

import pytest

from pcpad.commands.parser import Parser, verb_parser


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


@pytest.mark.faults
def test_an_option_that_is_called_otherwise_here_is_named_instead_of_the_nearest(capsys):
    parser = Parser(prog="pcpad verb", allow_abbrev=False)
    parser.add_argument("--overwrite")
    parser.meant = {"inver": "--mask_polarity white_valid"}
    for typed in ("--invert", "--mask_inverted=yes"):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args([typed])
        said = capsys.readouterr().err
        assert said.rstrip().endswith("Did you mean --mask_polarity white_valid?")
        assert "--overwrite?" not in said


def test_a_verb_s_help_is_printed_line_by_line_and_its_options_are_written_out(capsys):
    parser = verb_parser("verb", "What it does.", "examples:\n  pcpad verb --masks x\n  and more")
    parser.add_argument("--masks")
    assert parser.prog == "pcpad verb"
    assert "What it does.\n" in parser.format_help()
    assert parser.format_help().endswith("examples:\n  pcpad verb --masks x\n  and more\n")
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--mask", "x"])
    shorter = verb_parser("verb", "", "", usage="pcpad verb it", allow_abbrev=True)
    shorter.add_argument("--masks")
    assert shorter.parse_args(["--mask", "x"]).masks == "x"
    assert shorter.format_usage() == "usage: pcpad verb it\n"

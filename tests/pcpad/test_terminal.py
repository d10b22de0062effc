"""What stands in names is shown in terminals and logs, and never obeyed."""

import io
import logging
import os
import subprocess
import sys
import warnings

import pytest
from rich.console import Console

from pcpad.tables import Table
from pcpad.terminal import escaped_stderr, for_terminal, safe_messages, say, tell

pytestmark = pytest.mark.faults
NAME = "a[/red]b[bold]c\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202ed\udcff"
SHOWN = r"a[/red]b[bold]c\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202ed\xff"


def test_control_characters_are_shown_and_letters_stay():
    assert for_terminal(NAME) == SHOWN
    assert for_terminal("é̈ 日本 \t|\n") == "é̈ 日本 \t|\n"
    assert for_terminal("a\nb\tc", lines=False) == r"a\nb\tc"
    assert for_terminal("".join(map(chr, range(32)))).replace("\t", "").replace("\n", "").isprintable()


def test_a_line_is_one_line_and_no_markup(capsys):
    say(f"{NAME}\nb")
    tell(f"{NAME}\nb")
    tell(Table("", ["x"], [[NAME]]).rich(Console()))
    text = capsys.readouterr().out
    assert text.splitlines()[:2] == [SHOWN + r"\nb"] * 2
    assert text.count(SHOWN) == 3
    assert not set(text) & set("\x1b\x07\x9b\u202e\udcff")


def test_warnings_and_log_records():
    stream = io.StringIO()
    logger = logging.getLogger("pcpad.a_test")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    try:
        with safe_messages():
            logger.warning("read %s", NAME)
            logger.warning("%d of them", 3)
            text = warnings.formatwarning(UserWarning(NAME), UserWarning, "a.py", 1, "")
    finally:
        logger.removeHandler(handler)
    assert stream.getvalue() == f"read {SHOWN}\n3 of them\n"
    assert SHOWN in text
    assert warnings.formatwarning(UserWarning(NAME), UserWarning, "a.py", 1, "") != text, "as before, afterwards"


def test_what_a_parser_says_of_what_was_typed(capsys):
    with escaped_stderr():
        sys.stderr.write(NAME)
        sys.stderr.flush()
    sys.stderr.write("after\x1b")
    assert capsys.readouterr().err == f"{SHOWN}after\x1b"


def test_tracebacks_and_encodings_that_lack_a_letter():
    code = f"""
from pcpad.terminal import safe_messages, say
with safe_messages():
    say("– \\udcff")
    print("é")
raise RuntimeError({NAME!a})
"""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.stdout.split() == [rb"\u2013", rb"\xff", rb"\xe9"]
    assert SHOWN.encode() in done.stderr
    assert not set(done.stderr) & set(b"\x1b\x07")

"""What a run says at its end."""

from types import SimpleNamespace

import pytest

from pcpad.tasks.callbacks import RunResults


@pytest.mark.faults
def test_a_folder_s_name_is_no_markup(capsys):
    results = RunResults()
    results._closing = ["Written to a[/red]b/c[bold]d/\x1b[2Je\udcff/results.json"]
    results.teardown(SimpleNamespace(is_global_zero=True), None, "fit")
    assert capsys.readouterr().out == "Written to a[/red]b/c[bold]d/\\x1b[2Je\\xff/results.json\n"

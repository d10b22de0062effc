"""What a run says at its end, and writes beside what is there already."""

import json
from types import SimpleNamespace

import pytest

from pcpad.tasks.callbacks import RunResults


@pytest.mark.faults
def test_a_folder_s_name_is_no_markup(capsys):
    results = RunResults()
    results._closing = ["Written to a[/red]b/c[bold]d/\x1b[2Je\udcff/results.json"]
    results.teardown(SimpleNamespace(is_global_zero=True), None, "fit")
    assert capsys.readouterr().out == "Written to a[/red]b/c[bold]d/\\x1b[2Je\\xff/results.json\n"


@pytest.mark.faults
@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_results_are_written_where_a_damaged_file_is(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    trainer = SimpleNamespace(log_dir=str(tmp_path), is_global_zero=True)
    with pytest.warns(UserWarning, match=r"results\.json is damaged .* it is kept as .*results\.json\.damaged"):
        RunResults._write(trainer, "test", {"metrics": {}})
    assert json.loads((tmp_path / "results.json").read_text()) == {"test": {"metrics": {}}}
    assert (tmp_path / "results.json.damaged").read_text() == content

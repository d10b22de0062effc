"""The pages of verbs hold what the verbs print."""

import pytest
import reference

from pcpad.commands import TRAINER_VERBS, VERBS
from pcpad.commands.figures import FIGURES

command_pages = pytest.importorskip("command_pages", reason="each help is printed by a forked process")


def test_verbs_are_those_of_the_command():
    assert reference.verbs() == TRAINER_VERBS | VERBS
    assert set(command_pages.EXPLAINED) <= set(TRAINER_VERBS | VERBS)
    assert set(command_pages.TRAINER) == set(TRAINER_VERBS)


def test_hundreds_of_options_are_folded():
    short = ("", ("pcpad", "fit", "--help"), "usage: short\n")
    every = ("Every option", ("pcpad", "fit"), "usage: a\n\n b\n")
    page = command_pages.page_of("fit", "train", [short, every])
    assert page.startswith("---\nhide: [toc]")
    assert "\n# `pcpad fit`\n\nTrain. More in [Tasks](../tasks/index.md).\n" in page
    assert "```text\n$ pcpad fit --help\nusage: short\n```" in page
    assert '??? note "Every option"\n\n    ```text\n    $ pcpad fit\n    usage: a\n\n     b\n    ```\n' in page


def test_a_page_holds_what_help_prints(tmp_path):
    assert command_pages.write_pages(tmp_path, ["configs"]) == []
    (page,) = tmp_path.iterdir()
    assert page.name == "configs.md"
    assert "$ pcpad configs --help\nusage: pcpad configs [-h]\n" in page.read_text(encoding="utf-8")


def test_each_figure_has_its_help():
    words = [words for _, words in command_pages.helps_of("figure")]
    assert words == [("pcpad", "figure", "--help"), *(("pcpad", "figure", name, "--help") for name in FIGURES)]


def test_what_prints_no_help_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(command_pages, "helps_of", lambda verb: [("", ("pcpad", verb, "--nonsense"))])
    (said,) = command_pages.write_pages(tmp_path, ["configs"])
    assert said.startswith("pcpad configs --nonsense ended with 2: ")


@pytest.mark.slow
def test_all_pages(tmp_path):
    assert command_pages.main([str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.md"))) == len(TRAINER_VERBS | VERBS)
    assert "--trainer.max_steps" in (tmp_path / "fit.md").read_text(encoding="utf-8")

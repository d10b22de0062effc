"""What a shell offers, asked of bash itself."""

import shutil
import subprocess
import sys

import pytest

from pcpad import cli
from pcpad.commands import TRAINER_VERBS, VERBS, completion
from pcpad.commands.completing.trainer import parsed_options, verb_parser
from pcpad.commands.recipes import packaged_recipes

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_TYPE=9
_shtab_pcpad pcpad "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    pytest.importorskip("shtab", reason="needs the extra `completion`")
    path = tmp_path_factory.mktemp("completion") / "pcpad.bash"
    with path.open("w") as file:
        code = "from pcpad.cli import main; main(['completion', 'bash'])"
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    return path


@pytest.fixture
def offered(script, tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("no bash here")

    def ask(*words):
        done = subprocess.run(
            ["bash", "-c", ASK, "ask", str(script), "pcpad", *words], capture_output=True, text=True, cwd=tmp_path
        )
        assert not done.stderr
        return set(done.stdout.split())

    return ask


def test_bash_offers_verbs(offered):
    assert {*TRAINER_VERBS, *VERBS} <= offered("")
    assert offered("fi") == {"fit", "figure", "fill"}


def test_bash_offers_the_trainer_s_and_the_task_s_options(offered):
    assert {"--trainer.max_epochs", "--trainer.max_steps"} <= offered("fit", "--trainer.max_")
    assert {"--model.network", "--model.num_classes", "--model.help"} <= offered("fit", "--model.")
    assert "--data.root" in offered("test", "--data.r")
    assert offered("fit", "--tiling.") == set()
    assert "--tiling.margin" in offered("predict", "--tiling.")


def test_bash_offers_what_options_may_be(offered, tmp_path):
    assert "ClassificationTask" in offered("fit", "--model", "Cl")
    assert "KineticsDataModule" in offered("fit", "--data", "K")
    assert offered("fit", "--checkpoint.mode", "") == {"max", "min"}
    assert "biharmonic" in offered("fill", "--method", "bi")
    assert offered("sample", "dig") == {"digits"}
    (tmp_path / "cls_own.yaml").touch()
    assert offered("fit", "--config", "cls_") == {
        "cls_own.yaml",
        *(name for name in packaged_recipes() if name.startswith("cls_")),
    }
    assert offered("test", "--ckpt_path", "cls") == {"cls_own.yaml"}


@pytest.mark.parametrize("shell", [shell for shell in completion.SHELLS if shell != "bash"])
@pytest.mark.slow
def test_other_shells_have_a_script(shell, capsys):
    pytest.importorskip("shtab", reason="needs the extra `completion`")
    cli.main(["completion", shell])
    assert "trainer.max_epochs" in capsys.readouterr().out


def test_options_are_those_of_the_parser():
    assert verb_parser("predict").get_defaults()["tiling"]["size"] is None
    options = {name: choices for names, _, choices in parsed_options("fit") for name in names}
    assert options["--checkpoint.mode"] == ["max", "min"]
    assert {"--config", "--model", "--data", "--ckpt_path"} <= set(options)


@pytest.mark.faults
def test_without_shtab_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["completion", "bash"])
    assert ended.value.code == 1
    assert "pip install 'pcpad[completion]'" in capsys.readouterr().err

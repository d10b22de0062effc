"""The packaged recipes, and what is read of any recipe before it runs."""

import re

import pytest

from pcpad import cli
from pcpad.commands.recipes import configured_imports, packaged_recipes, resolve_configs


@pytest.mark.faults
@pytest.mark.parametrize("recipe", sorted(packaged_recipes()))
def test_no_recipe_says_a_key_twice(recipe):
    assert configured_imports([packaged_recipes()[recipe]]) == []


@pytest.mark.faults
def test_a_key_said_twice_is_refused(tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("trainer:\n  max_epochs: 2\n  accelerator: cpu\n  max_epochs: 90\n")
    with pytest.raises(SystemExit):
        cli.main(["fit", "--config", str(recipe), "--print_config"])
    assert f"{recipe} repeats the key `max_epochs`, in lines 2 and 4" in capsys.readouterr().err
    # The same key elsewhere, and a merged one, are none of that.
    recipe.write_text("base: &base\n  a: 1\nmine:\n  <<: *base\n  a: 2\nimports: []\n")
    assert configured_imports([recipe]) == []


def full_recipes():
    """Those that stand for an experiment; demos are for a small machine."""
    return [name for name in sorted(packaged_recipes()) if not re.search("demo|digits|small", name)]


@pytest.mark.faults
@pytest.mark.parametrize("recipe", full_recipes())
def test_what_departs_from_the_papers_is_said_at_the_key(recipe):
    """With how to undo it: half precision, and a running average of weights."""
    lines = packaged_recipes()[recipe].read_text().splitlines()
    for at, line in enumerate(lines):
        comment = " ".join(part.strip(" #") for part in lines[at - 2 : at] if part.strip().startswith("#"))
        if line.strip().startswith("precision:"):
            assert "Not from the papers," in comment
            assert "--trainer.precision 32-true" in comment
        if line.strip().startswith("ema:"):
            assert "Not from the paper," in comment
            assert "0 turns it off" in comment


@pytest.mark.faults
@pytest.mark.parametrize(
    "recipe", [name for name in full_recipes() if name.startswith("seg_") and "folder" not in name]
)
def test_plain_cross_entropy_is_said_to_be_a_choice(recipe):
    text = packaged_recipes()[recipe].read_text()
    assert "Plain cross entropy. The papers name no loss" in text
    assert "--model.label_relaxation 1" in text


@pytest.mark.faults
def test_the_recipes_name_things_for_what_they_are():
    act, seg = (packaged_recipes()[f"{name}.yaml"].read_text() for name in ("act_r3d50", "seg_wn38"))
    assert "ActivityNet's mean color, (114.77, 107.74, 99.48)" in act
    assert "of three clips per video, as in the public code" in act
    assert '"1/3 x 1/3" of the 2022 paper\'s Table 4 holds what the 2018 paper\'s Table 7 has under "1/2 x 1/2"' in seg


@pytest.mark.faults
def test_colors_are_no_comments():
    """A shell takes the quotation marks away, and then YAML the color."""
    typed = ["--data.ignore", "#000000", "--data.classes={sky: #8080ff, road: '#804080'}", "--data.root", "#000000"]
    typed += ["--data.init_args.ignore=[#000000,#ffffff]", "--config={}"]
    assert resolve_configs(typed) == [
        *(
            "--data.ignore",
            '["#000000"]',
            """--data.classes={sky: "#8080ff", road: '#804080'}""",
            "--data.root",
            "#000000",
        ),
        *('--data.init_args.ignore=["#000000","#ffffff"]', "--config", "{}"),
    ]

"""The packaged recipes, and what is read of any recipe before it runs."""


import pytest

from pcpad import cli
from pcpad.commands.recipes import configured_imports, packaged_recipes


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
    assert f"{recipe} says `max_epochs` twice in one place, in lines 2 and 4" in capsys.readouterr().err
    # The same key elsewhere, and a merged one, are none of that.
    recipe.write_text("base: &base\n  a: 1\nmine:\n  <<: *base\n  a: 2\nimports: []\n")
    assert configured_imports([recipe]) == []

"""What mypy sees of a checkout is what it sees of an install."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "typecheck.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="a source archive has no .ci folder")
def test_the_package_is_laid_out_as_installed_and_messages_name_the_checkout(tmp_path):
    spec = spec_from_file_location("typecheck", SCRIPT)
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    script.lay_out(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pcpad"]
    for file in (
        "layers.py",
        "tasks/base.py",
        "datamodules/base.py",
        "commands/run.py",
        "configs/__init__.py",
        "cli.py",
    ):
        assert (tmp_path / "pcpad" / file).is_file()
    lines = ["pcpad/tasks/base.py:3: error: no", "pcpad/layers.py:4: note: pcpad/tasks/base.py", "pcpad/cli.py:1: no"]
    said = script.in_checkout("\n".join(lines))
    assert said == "tasks/base.py:3: error: no\npcpad/layers.py:4: note: pcpad/tasks/base.py\ncli.py:1: no"

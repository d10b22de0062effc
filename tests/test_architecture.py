"""What imports what: arrows point one way, and importing the layers stays light."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pcpad

ROOT = Path(__file__).resolve().parent.parent
# What each part may import of the suite.
ALLOWED = {
    "pcpad": {"pcpad"},
    "tasks": {"pcpad", "tasks"},
    "datamodules": {"pcpad", "datamodules"},
    "commands": {"pcpad", "tasks", "datamodules", "commands", "configs"},
    "configs": set(),
    "cli.py": {"pcpad", "commands"},
}
LAYERS = [
    "_border.py",
    "convert.py",
    "filling.py",
    "functional.py",
    "layers.py",
    "masked.py",
    "paddings.py",
    "panoptic/__init__.py",
    "panoptic/autograd.py",
    "panoptic/layer.py",
    "panoptic/plan.py",
    "panoptic/rows.py",
    "tiling.py",
    "__init__.py",
]


def imported(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def part_of(module: str) -> str | None:
    """Which part of the suite a module is in; None for others' modules."""
    words = module.split(".")
    if words[0] != "pcpad":
        return None
    second = words[1] if len(words) > 1 else ""
    return second if second in ALLOWED else "cli.py" if second == "cli" else "pcpad"


@pytest.mark.parametrize("part", ALLOWED)
def test_arrows_point_one_way(part):
    files = [ROOT / part] if part.endswith(".py") else sorted((ROOT / part).rglob("*.py"))
    assert files
    for path in files:
        for module in imported(path):
            target = part_of(module)
            assert target is None or target in ALLOWED[part], f"{path.relative_to(ROOT)} imports {module}"
            assert module.split(".")[0] not in {"tasks", "datamodules", "commands", "configs", "cli"}, path


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_package_needs_torch_alone(name):
    others = {module.split(".")[0] for module in imported(ROOT / "pcpad" / name)}
    assert others - set(sys.stdlib_module_names) <= {"torch", "pcpad"}


def test_networks_losses_and_metrics_never_import_lightning():
    for path in sorted((ROOT / "pcpad").rglob("*.py")):
        assert not {module for module in imported(path) if module.split(".")[0] in {"lightning", "pytorch_lightning"}}


def test_importing_pcpad_is_light():
    code = "import sys, pcpad; print([m for m in ('lightning', 'torchvision', 'timm') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def modules():
    """Every module of the installed package."""
    names = ["pcpad"]
    for package in ("pcpad", "pcpad.metrics", "pcpad.models", "pcpad.tasks", "pcpad.datamodules", "pcpad.commands"):
        found = importlib.import_module(package)
        names += [f"{package}.{info.name}" for info in pkgutil.iter_modules(list(found.__path__)[:1])]
    return sorted(set(names))


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_the_version_is_the_package_s():
    from importlib.metadata import version

    assert pcpad.__version__ == version("pcpad")

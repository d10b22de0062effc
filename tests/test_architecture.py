"""What imports what: arrows point one way, and importing the layers stays light."""

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import pcpad

ROOT = Path(__file__).resolve().parent.parent
# What each part may import of the suite.
ALLOWED = {
    "pcpad": {"pcpad"},
    "pcpad/__main__.py": {"cli.py"},
    "tasks": {"pcpad", "tasks"},
    "datamodules": {"pcpad", "datamodules"},
    "commands": {"pcpad", "tasks", "datamodules", "commands", "configs"},
    "configs": set(),
    "cli.py": {"pcpad", "commands"},
}
# What some rooms may not import of their neighbors.
ROOMS = {
    "datamodules/reading": ("datamodules/datasets", "datamodules/samples", "datamodules/base"),
    "datamodules/datasets": ("datamodules/samples", "datamodules/base"),
    "datamodules/samples": ("datamodules/reading", "datamodules/base"),
    "tasks/pictures": ("tasks/evaluation", "tasks/judges", "tasks/callbacks", "tasks/base"),
    "tasks/evaluation": ("tasks/judges", "tasks/callbacks"),
}
LAYERS = [
    "_border.py",
    "_conversion_report.py",
    "_exponent.py",
    "_lazy.py",
    "_mask_counts.py",
    "_observed.py",
    "_other_convolutions.py",
    "_other_layers.py",
    "_outside_padding.py",
    "_own_padding.py",
    "_passes.py",
    "_renamed.py",
    "_scaling.py",
    "_tracing.py",
    "_what_to_convert.py",
    "convert.py",
    "errors.py",
    "_filling_tiles.py",
    "filling.py",
    "functional.py",
    "fusing.py",
    "layers.py",
    "masked.py",
    "paddings.py",
    "panoptic/__init__.py",
    "panoptic/autograd.py",
    "panoptic/layer.py",
    "panoptic/plan.py",
    "panoptic/rows.py",
    "_tiling_margins.py",
    "_tiling_run.py",
    "_tiling_sources.py",
    "_tiling_windows.py",
    "adaptation/dependence.py",
    "adaptation/obstacles.py",
    "adaptation/reach.py",
    "tiling.py",
    "__init__.py",
]


# Folders whose tests mirror them. `tests/fuzz` goes across them, by kinds of files.
MIRRORED = ["pcpad", "tasks", "datamodules", "commands"]


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
        if path.relative_to(ROOT).as_posix() in ALLOWED and len(files) > 1:
            continue  # it has rules of its own
        for module in imported(path):
            target = part_of(module)
            assert target is None or target in ALLOWED[part], f"{path.relative_to(ROOT)} imports {module}"
            assert module.split(".")[0] not in {"tasks", "datamodules", "commands", "configs", "cli"}, path


@pytest.mark.parametrize(("room", "others"), ROOMS.items())
def test_arrows_between_rooms_point_one_way(room, others):
    for path in sorted((ROOT / room).rglob("*.py")):
        for module in imported(path):
            for other in others:
                inside = f"pcpad.{other.replace('/', '.')}."
                assert not f"{module}.".startswith(inside), f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_package_needs_torch_alone(name):
    others = {module.split(".")[0] for module in imported(ROOT / "pcpad" / name)}
    assert others - set(sys.stdlib_module_names) <= {"torch", "pcpad"}


def test_networks_losses_and_metrics_never_import_lightning():
    for path in sorted((ROOT / "pcpad").rglob("*.py")):
        assert not {module for module in imported(path) if module.split(".")[0] in {"lightning", "pytorch_lightning"}}


def test_importing_pcpad_is_light():
    heavy = "print([m for m in ('lightning', 'torchvision', 'timm', 'torch') if m in sys.modules])"
    code = f"import sys, pcpad; {heavy}; pcpad.PartialConv2d; pcpad.convert_padding; {heavy}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["[]", "['torch']"]


def modules(*parts: str) -> dict[str, Path]:
    """The modules of some parts of the suite under the names by which they are imported."""
    files = [
        file for part in parts for file in ([ROOT / part] if part.endswith(".py") else (ROOT / part).rglob("*.py"))
    ]
    found = {}
    for file in sorted(set(files)):
        words = file.relative_to(ROOT).with_suffix("").parts
        words = words if words[0] == "pcpad" else ("pcpad", *words)
        found[".".join(words[:-1] if words[-1] == "__init__" else words)] = file
    return found


def edges(files: dict[str, Path]) -> dict[str, set[str]]:
    """Which of these modules each of them imports, wherever in it and for types alone included."""
    graph = {}
    for name, file in files.items():
        found = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inner = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                found |= {inner[alias] if inner[alias] in files else node.module for alias in inner}
        graph[name] = (found & set(files)) - {name}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules in which each leads to each of the others."""
    reached = {}
    for start in graph:
        seen, ahead = set(), list(graph[start])
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                ahead += graph[name]
        reached[start] = seen
    groups = {frozenset(b for b in reached[a] if a in reached[b]) for a in graph}
    return sorted(sorted(group) for group in groups if group)


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"f"}, "f": {"g"}, "g": {"e", "a"}}
    assert circles(graph) == [["b", "c"], ["e", "f", "g"]]


def test_no_modules_import_each_other_in_a_circle():
    """At whatever distance, and for types alone included."""
    found = circles(edges(modules(*ALLOWED)))
    assert not found, "\n".join(" <-> ".join(circle) for circle in found)


def test_tests_mirror_the_tree():
    """`tests/<a>/test_<b>.py` tests `<a>/<b>.py`; beside it, `test_<b>_<aspect>.py` tests more of the same module."""
    astray = []
    for test in sorted(file for part in MIRRORED for file in (ROOT / "tests" / part).rglob("test_*.py")):
        folder, name = ROOT / test.parent.relative_to(ROOT / "tests"), test.stem.removeprefix("test_")
        beside = [t.stem.removeprefix("test_") for t in test.parent.glob("test_*.py") if t != test]
        names = {name, *(other for other in beside if name.startswith(f"{other}_"))}
        if not any((folder / f"{prefix}{name}.py").is_file() for name in names for prefix in ("", "_")):
            astray.append(test.relative_to(ROOT).as_posix())
    assert not astray


@pytest.mark.parametrize("name", modules(*ALLOWED))
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_the_version_is_the_package_s():
    from importlib.metadata import version

    assert pcpad.__version__ == version("pcpad")

"""Names that are imported when they are asked for."""

import ast
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import pcpad
from pcpad._lazy import attach

PACKAGES = ["pcpad", "pcpad.losses", "pcpad.metrics", "pcpad.models"]


def run(code, folder=None):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_nothing_that_it_names(package):
    code = f"import sys, {package}; print('torch' in sys.modules, sorted(m for m in sys.modules if 'pcpad' in m))"
    assert run(code).strip() == f"False {sorted({'pcpad', 'pcpad._lazy', 'pcpad._renamed', package})}"


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_are_told_of_every_name(package):
    module = importlib.import_module(package)
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (told,) = (
        node.body for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imports = [node for node in told if isinstance(node, ast.ImportFrom)]
    names = {alias.asname: (node.module, alias.name) for node in imports for alias in node.names}
    assert sorted([*names, *(["__version__"] if package == "pcpad" else [])]) == sorted(module.__all__)
    for public, (defined_in, name) in names.items():
        assert name == public
        assert getattr(module, public) is getattr(importlib.import_module(defined_in), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_and_module_is_in_dir(package):
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module))
    own = {path.stem for path in Path(module.__file__).parent.glob("*.py")}
    own |= {path.parent.name for path in Path(module.__file__).parent.glob("*/__init__.py")}
    assert {name for name in own if not name.startswith("_")} <= set(dir(module))


@pytest.mark.slow
def test_modules_are_attributes_after_importing_the_package_alone():
    code = """
import pcpad
print(pcpad.tiling.__name__, pcpad.metrics.BorderIoU.__name__, pcpad.models.weights.__name__, pcpad.tasks.__name__)
print({"metrics", "tiling", "models", "losses", "filling", "functional", "errors", "tasks"} <= set(dir(pcpad)))
"""
    assert run(code).splitlines() == ["pcpad.tiling BorderIoU pcpad.models.weights pcpad.tasks", "True"]


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "import pcpad.models.inpainting_unet; ", "import pcpad.models.resnet3d; "])
def test_a_name_that_is_a_module_s_too_is_what_the_module_defines(before):
    code = before + "import pcpad.models; from pcpad.models import inpainting_unet, resnet3d as r; "
    code += "import pcpad.models.resnet3d; from pcpad.models import *; "
    code += "print(callable(inpainting_unet), callable(r), callable(resnet3d), callable(pcpad.models.resnet3d))"
    assert run(code).strip() == "True True True True"


def test_lazily_exported_names_pickle():
    for name in ("PartialConv2d", "convert_padding"):
        assert pickle.loads(pickle.dumps(getattr(pcpad, name))) is getattr(pcpad, name)


def test_unknown_names():
    with pytest.raises(AttributeError, match="module 'pcpad' has no attribute 'metric'"):
        _ = pcpad.metric
    with pytest.raises(ImportError, match="cannot import name 'NoSuchMetric'"):
        from pcpad.metrics import NoSuchMetric  # noqa: F401


def test_an_error_while_importing_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "lazy_sample").mkdir()
    (tmp_path / "lazy_sample" / "__init__.py").write_text(
        "from pcpad._lazy import attach\n"
        "__getattr__, __dir__, __all__ = attach(__name__, {'Name': 'lazy_sample.broken'}, ['other'])\n"
    )
    (tmp_path / "lazy_sample" / "broken.py").write_text("import no_such_package\n")
    (tmp_path / "lazy_sample" / "other.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    sample = importlib.import_module("lazy_sample")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        _ = sample.Name
    assert sample.other.__name__ == "lazy_sample.other"
    assert {"Name", "broken", "other"} <= set(dir(sample))


def test_attach_gives_three_things():
    importlib.import_module("pcpad.losses")
    get, names, everything = attach("pcpad.losses", {"InpaintingLoss": "pcpad.losses.inpainting"})
    assert get("InpaintingLoss").__name__ in names()
    assert everything == ["InpaintingLoss"]


def test_python_dash_m_is_the_command():
    code = "import runpy, sys; sys.argv = ['pcpad', '--version']; runpy.run_module('pcpad', run_name='__main__')"
    assert run(code).startswith(f"pcpad {pcpad.__version__}, Python ")

"""The names of pcpad that are public, read from its sources without importing anything.

Public are the modules of the layer package, of tasks and of data modules whose names do not begin with an underscore,
and in each the names in its `__all__` (except other packages that it re-exports) or, without one, those it defines
without an underscore. What a package's `__init__` re-exports of its modules (`pcpad.PartialConv2d`) is a short form
of such a name.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

__all__ = ["PARTS", "ROOT", "first_line", "package_names", "public_modules", "sources"]

ROOT = Path(__file__).resolve().parent.parent
PARTS = {"pcpad": "pcpad", "tasks": "pcpad.tasks", "datamodules": "pcpad.datamodules"}


@cache
def sources() -> dict[str, Path]:
    """The public modules and packages, by the names they are imported by.

    Returns:
        Dotted name to file, sorted.
    """
    found = {}
    for folder, package in PARTS.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            words = file.relative_to(ROOT / folder).with_suffix("").parts
            words = words[:-1] if words[-1] == "__init__" else words
            if not any(word.startswith("_") for word in words):
                found[".".join((package, *words))] = file
    return dict(sorted(found.items()))


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _packages(tree: ast.Module) -> set[str]:
    """The names under which a module imports whole packages: `A` of `import albumentations as A`."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def _listed(tree: ast.Module) -> list[str] | None:
    """The names in a module's `__all__`; None without one that is a plain list."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return [name for name in ast.literal_eval(node.value) if name not in _packages(tree)]
    return None


def _defined(tree: ast.Module) -> list[str]:
    """Functions and classes without an underscore."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def first_line(module: str) -> str:
    """The beginning of a module's docstring.

    Args:
        module: One of `sources`.

    Returns:
        Its first paragraph, on one line.
    """
    return " ".join((ast.get_docstring(_tree(sources()[module])) or "").partition("\n\n")[0].split())


def _assigned(tree: ast.Module) -> list[str]:
    """What a package's `__init__` defines itself: upper-case constants, and the version."""
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if name == "__version__" or (name.isupper() and not name.startswith("_"))]


@cache
def public_modules() -> dict[str, list[str]]:
    """The public names that each module defines or re-exports.

    Returns:
        Dotted module to its names. For packages' `__init__` only what is defined there, since the rest is defined in
        their modules. Modules without public names are left out.
    """
    found = {}
    for module, file in sources().items():
        tree = _tree(file)
        listed = _listed(tree)
        defined = _defined(tree) if listed is None else listed
        names = _assigned(tree) if file.name == "__init__.py" else defined
        if names:
            found[module] = names
    return found


@cache
def package_names() -> dict[str, str]:
    """The short names that packages offer.

    Returns:
        Short dotted name (`pcpad.PartialConv2d`) to that of the module that defines it (`pcpad.layers.PartialConv2d`).
    """
    found = {}
    for package, file in sources().items():
        if file.name != "__init__.py":
            continue
        tree = _tree(file)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pcpad."):
                for alias in node.names:
                    if alias.asname == alias.name or alias.name in (_listed(tree) or []):
                        found[f"{package}.{alias.name}"] = f"{node.module}.{alias.name}"
    return {
        short: found.get(full, full)
        for short, full in sorted(found.items())
        if ".".join(full.split(".")[:2]) != "pcpad._lazy"
    }

"""Public names are what the packages say, and each has a page."""

import importlib

import public_names
import pytest
import reference

PACKAGES = [
    *("pcpad", "pcpad.adaptation", "pcpad.losses", "pcpad.metrics", "pcpad.models", "pcpad.panoptic"),
    *("pcpad.tasks", "pcpad.tasks.callbacks", "pcpad.tasks.evaluation", "pcpad.datamodules"),
]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_that_a_package_offers_has_a_reference_page(package):
    offered = set(importlib.import_module(package).__all__) - {"__version__"}
    found = {short.rpartition(".")[2]: full for short, full in public_names.package_names().items()
             if short.rpartition(".")[0] == package}  # fmt: skip
    assert set(found) == offered
    modules, pages = public_names.public_modules(), reference.made_pages()
    for name, full in found.items():
        module = full.rpartition(".")[0]
        assert name in modules[module], full
        assert f"::: {module}\n" in pages[f"reference/{module}.md"]
        assert f"({module}.md#{full})" in pages["reference/index.md"]


def test_every_verb_and_public_module_is_in_the_navigation():
    (groups,) = reference.reference_navigation().values()
    assert groups[1] == {"Verbs of the command": [f"commands/{verb}.md" for verb in reference.verbs()]}
    listed = [page for group in groups[2:] for pages in group.values() for page in pages]  # behind overview and verbs
    assert sorted(listed) == sorted(f"reference/{module}.md" for module in public_names.public_modules())

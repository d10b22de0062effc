"""What is checked of the built pages."""

import zlib

import build_site
import pytest


@pytest.fixture
def site(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top"></h1><a href="#top"></a><a href="sub/page.html#here"></a><a href="https://example.org/x"></a>'
        '<img src="data:image/png;base64,AA=="><link rel="canonical" href="https://example.org/">',
        encoding="utf-8",
    )
    (tmp_path / "sub" / "page.html").write_text('<p id="here"></p><a href="../index.html"></a>', encoding="utf-8")
    return tmp_path


def test_nothing_is_wrong_with_links_that_lead_somewhere(site):
    assert build_site.broken_links(site) == []
    assert build_site.loaded_from_elsewhere(site) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<a href="nowhere.html"></a>', "bad.html: nowhere.html is not there"),
        ('<a href="index.html#nowhere"></a>', "bad.html: index.html#nowhere has no such anchor"),
        ('<a href="#nowhere"></a>', "bad.html: #nowhere has no such anchor"),
        ('<img src="nowhere.png">', "bad.html: nowhere.png is not there"),
    ],
)
def test_broken_links(site, text, said):
    (site / "bad.html").write_text(text, encoding="utf-8")
    assert build_site.broken_links(site) == [said]


@pytest.mark.parametrize(
    "text",
    ['<script src="https://cdn.example.org/a.js"></script>', '<link rel="stylesheet" href="//fonts.example.org/a">'],
)
def test_what_is_loaded_from_elsewhere(site, text):
    (site / "bad.html").write_text(text, encoding="utf-8")
    (said,) = build_site.loaded_from_elsewhere(site)
    assert said.startswith("bad.html: ")


def test_a_name_without_a_page_is_noticed(site):
    names = [f"{module}.{name}" for module, inside in build_site.public_modules().items() for name in inside]
    names += build_site.package_names().values()
    lines = "".join(
        f"{name} py:function 1 reference/x.html#$ -\n" for name in names if name != "pcpad.layers.PartialConv2d"
    )
    head = b"# Sphinx inventory version 2\n# Project: pcpad\n# Version:\n# The rest is compressed using zlib.\n"
    (site / "objects.inv").write_bytes(head + zlib.compress(lines.encode()))
    missing, count = build_site.names_without_page(site)
    assert missing == ["pcpad.layers.PartialConv2d"]
    assert count == len(set(names))


def test_what_the_builder_reads(tmp_path):
    config = build_site.lay_out_site(tmp_path / "docs")
    assert (config.parent / "sources/pcpad/tasks/base.py").is_file()
    assert (config.parent / "pages/reference/pcpad.layers.md").is_file()
    assert not list((config.parent / "pages").rglob("*.py"))

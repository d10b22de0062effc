"""The runner of pages: what it runs, and that it notices what is wrong."""

import pytest
from page_blocks import Line, blocks_of, complaints, lines_of

from pcpad.commands import VERBS

# It imports `resource`, which Windows lacks, as it lacks forks.
run_blocks = pytest.importorskip("run_blocks", reason="the pages are run where processes can be forked")


@pytest.fixture
def run(tmp_path):
    """Run the blocks of a page; counts, and what went wrong."""

    def run(text):
        page = tmp_path / "page.md"
        page.write_text(text, encoding="utf-8")
        counts, wrong = run_blocks.run_page(page)
        return dict(counts), "\n".join(wrong)

    return run


def test_python_of_a_page_shares_names_and_files(run):
    text = """
```python title="mine.py"
VALUE = 3
```
```python
import mine
twice = 2 * mine.VALUE
```
=== "in a tab"
    ```pycon
    >>> twice, [mine.VALUE]
    (6, [...])
    ```
"""
    assert run(text) == ({"files written": 1, "blocks run": 2}, "")


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```python\n1 / 0\n```", "page.md:3:\nTraceback"),
        ("```pycon\n>>> 1 + 1\n3\n```", "Expected:\n    3\nGot:\n    2"),
        ("```python\nimport os\nos._exit(3)\n```", "the process ended"),
        ("```console\n$ pcpad nonsense\n```", "page.md:3: pcpad nonsense ended with 2"),
        ("```console\n$ pcpad --help\nverbs:\nfit\nusage:\n```", "did not print 'usage:'"),
        ("```python\n# not run here: no GPU\nfrom pcpad import Nothing\n```", "cannot import name 'Nothing'"),
        ("```console\n# not run here: no photographs\n$ pcpad bench --nothing 3\n```", "does not know --nothing"),
    ],
)
def test_what_is_wrong_is_noticed(run, block, said):
    assert said in run(f"# Page\n\n{block}\n")[1]


def test_what_is_right_is_not(run):
    text = """
```console
$ pcpad --help      # said by the command itself
usage: pcpad VERB …
fit … train, and validate
```
```console
# not run here: no photographs
$ pcpad bench --rounds 3 \\
      --size 32
```
```python
# not run here: no weights
from pcpad import convert_padding
import nowhere
```
"""
    assert run(text) == ({"console lines run": 1, "console lines parsed only": 1, "blocks imported only": 1}, "")


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```\n$ pcpad fit\n```", "a block's language is one of"),
        ("```text\npcpad fit\n```", "belong in a console block"),
        ("```console\npcpad fit\n```", "lines that begin with"),
        ("```console\n$ rm -r x\n```", "only pcpad can be run, not rm"),
        ("```python\n# not run here:\n```", "must say why"),
        ("```sh\nmake nothing\npip install 'pcpad[onnx,nothing]'\n```", "make has no target nothing"),
        ("```sh\nmake test\npip install 'pcpad[onnx,nothing]'\n```", "pcpad has no extra nothing"),
    ],
)
def test_complaints(tmp_path, block, said):
    (tmp_path / "page.md").write_text(block, encoding="utf-8")
    (found,) = blocks_of(tmp_path / "page.md")
    assert said in "\n".join(complaints(found, {"test"}, {"onnx"}))


def test_lines_go_on_behind_a_backslash(tmp_path):
    (tmp_path / "page.md").write_text(
        "```console\n$ pcpad a \\\n    --b 'c d'   # why\nprinted\n$ pcpad e\n```\n", encoding="utf-8"
    )
    (found,) = blocks_of(tmp_path / "page.md")
    assert lines_of(found) == [Line(("pcpad", "a", "--b", "c d"), ("printed",)), Line(("pcpad", "e"), ())]


def test_training_is_shortened_unless_the_page_says_how_long():
    words = ("pcpad", "compare", "--config", "x", "--test", "--eval+=Tile")
    assert run_blocks.shortened(words) == (*words[:4], "--seeds", "1", "--trainer.max_steps", "6", *words[4:])
    listed = ("pcpad", "compare", "--config", "x", "--list")  # the same configuration as the line that runs
    assert run_blocks.shortened(listed) == (*listed, "--seeds", "1", "--trainer.max_steps", "6")
    for said in (("pcpad", "fit", "--trainer.max_epochs", "2"), ("pcpad", "compare", "--report"), ("pcpad", "configs")):
        assert run_blocks.shortened(said) == said
    assert set(run_blocks.SHORTER) <= {"fit", *VERBS}


def test_every_page_is_written_as_the_runner_reads_it():
    known = run_blocks._known()
    pages = run_blocks.all_pages()
    blocks = [block for page in pages for block in blocks_of(page)]
    assert blocks
    assert not [one for block in blocks for one in complaints(block, *known)]

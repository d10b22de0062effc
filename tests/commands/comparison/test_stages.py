"""Files of several comparisons."""

import pytest

from pcpad.commands.comparison.stages import stages_of
from pcpad.errors import UserFileNotFoundError, UserValueError


def test_each_line_is_a_comparison_and_typed_options_hold_for_all(tmp_path):
    path = tmp_path / "stages.txt"
    path.write_text(
        "# pre-train, then segment\n"
        "pcpad compare --config pre.yaml --seeds 2 --output pre  # which takes a day\n"
        "\n"
        "--config seg.yaml --seeds 2 --after pre \\\n"
        "    --set 'model.weights={after}' --test --eval+=Tile\n"
    )
    first, second = stages_of(["--jobs", "2", f"--stages={path}", "--list"])
    assert first.arguments == ["--jobs", "2", "--list", "--config", "pre.yaml", "--seeds", "2", "--output", "pre"]
    assert second.arguments[3:] == [
        *("--config", "seg.yaml", "--seeds", "2", "--after", "pre", "--set", "model.weights={after}"),
        *("--test", "--eval+=Tile"),
    ]
    assert (first.where, second.where) == (f"{path}, line 2", f"{path}, line 4")


def test_a_line_without_stages_is_itself():
    args = ["--config", "a.yaml", "--test", "--stages", "x"]
    (stage,) = stages_of(args)
    assert (stage.arguments, stage.where) == (args, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no comparison"),
        ("# nothing\n", "holds no comparison"),
        ("--seeds 2\npcpad fit --config a.yaml\n", "line 2: expected the options of one `pcpad compare`"),
        ("pcpad compare\n", "line 1: expected the options"),
        ("--stages other.txt\n", "line 1: expected the options"),
        ("--set 'a={padding}\n", "line 1: No closing quotation"),
    ],
    ids=["empty", "comments", "another verb", "no options", "a file of files", "quotes"],
)
def test_what_is_no_file_of_comparisons_is_refused(tmp_path, text, words):
    (tmp_path / "stages.txt").write_text(text)
    with pytest.raises(UserValueError, match=words):
        stages_of(["--stages", str(tmp_path / "stages.txt")])


def test_what_is_said_of_one_is_refused_beside_a_file(tmp_path):
    (tmp_path / "stages.txt").write_text("--seeds 2\n")
    with pytest.raises(UserValueError, match="write it into its line"):
        stages_of(["--stages", str(tmp_path / "stages.txt"), "--test", "--eval+=Tile"])
    with pytest.raises(UserFileNotFoundError, match="No such file"):
        stages_of(["--stages", str(tmp_path / "gone.txt")])

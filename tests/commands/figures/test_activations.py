"""`pcpad figure activations`."""

from pcpad import cli


def test_images_that_one_padding_alone_gets_right(images, tmp_path, capsys, data, dots_per_inch, opinionated):
    first = [opinionated(tmp_path / f"p{seed}.ckpt", "partial", 0, seed) for seed in (0, 1)]
    second = [opinionated(tmp_path / f"z{label}.ckpt", "zeros", label) for label in (1, 2)]
    output = tmp_path / "a.png"
    args = ["figure", "activations", "--first", *first, "--second", *second, *data(images), "--output", str(output)]
    cli.main(args)
    printed = capsys.readouterr().out
    assert "2 of 6 test images: right in all 2 runs with partial, wrong in all 2 with zeros" in printed
    assert "0 of 6 test images: right in all 2 runs with zeros, wrong in all 2 with partial" in printed
    assert dots_per_inch(output) == 150


def test_no_such_image_is_said(images, tmp_path, data, failing, opinionated):
    same = [opinionated(tmp_path / f"{padding}.ckpt", padding, 0) for padding in ("partial", "zeros")]
    args = ["activations", "--first", same[0], "--second", same[1], *data(images), "--output", tmp_path / "a.png"]
    assert "No test image is right in all runs of one padding and wrong in all of the other (6 looked at)" in failing(
        *args
    )
    assert not (tmp_path / "a.png").exists()
    assert "one padding, but got" in failing("activations", "--first", *same, "--second", same[1])
    message = failing("activations", "--first", same[0], "--second", same[0])
    assert "Both groups were trained with partial" in message


def test_activations_are_for_classification(segmentations, streets, failing, scenes):
    args = ["activations", "--first", segmentations[0], "--second", segmentations[1], *scenes(streets)]
    assert "is this classification?" in failing(*args, "--images", 1)

"""`predict` for inpainting: a folder of odd pictures in, the same pictures with their holes filled out."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from pcpad import cli
from pcpad.datamodules import Places2DataModule
from pcpad.filling import fill
from pcpad.pictures import Picture, PictureError, read_picture, write_picture
from pcpad.tasks import InpaintingTask
from pcpad.tasks.base import Task
from pcpad.tasks.callbacks import InpaintedPictures
from pcpad.tasks.callbacks.inpainted import compose
from pcpad.tiling import Tiling

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*TreeSpec:FutureWarning")
FILLING = 0.6
RNG = np.random.default_rng(0)


class StandIn(Task):
    """Fills holes with one gray, by tiles of 32 pixels."""

    def predict_step(self, batch, batch_idx):
        image = fill(self.network, batch["image"], batch["mask"], Tiling(32, "1/4"), max_pixels=2000)
        return {"path": list(batch["path"]), "image": image}

    def network(self, image, mask):
        return torch.full_like(image, FILLING)

    def prediction_writer(self, output=None):
        return InpaintedPictures(output)


def picture(channels=3, kind=np.uint8, size=(60, 50)):
    array = RNG.integers(0, np.iinfo(kind).max + 1, (*size, channels), dtype=kind)
    return Picture(array[..., :-1], array[..., -1]) if channels in (2, 4) else Picture(array)


def hole(size=(60, 50), kind=np.uint8):
    """A mask, white = hole, rows 10 to 29 and columns 5 to 44."""
    mask = np.zeros(size, kind)
    mask[10:30, 5:45] = np.iinfo(kind).max
    return mask


def predict(folder, output=None, callback=None, **options):
    """Predict the pictures in `images/` with `masks/`; the folder written to."""
    output = output or folder / "out"
    options = {"predict_masks": folder / "masks", "mask_polarity": "white_hole", **options}
    data = Places2DataModule(predict_images=folder / "images", num_workers=0, **options)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(callbacks=[callback or InpaintedPictures(str(output))], **quiet)
    trainer.predict(StandIn(), data, return_predictions=False)
    return output


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path


def add(folder, name, pictured=None, mask=None):
    pictured = pictured or picture()
    write_picture(folder / "images" / name, pictured, "tiff" if name.endswith("tiff") else "png")
    if mask is not False:
        Image.fromarray(hole(pictured.size) if mask is None else mask).save(folder / "masks" / f"{Path(name).stem}.png")
    return pictured


def check(result, original, holes=None):
    """Valid pixels and alpha are the original's bit by bit, holes have the filling."""
    holes = hole(original.size) > 0 if holes is None else holes
    assert result.color.dtype == original.color.dtype
    assert result.color.shape == original.color.shape
    assert np.array_equal(result.color[~holes], original.color[~holes])
    assert np.allclose(result.color[holes], FILLING * original.white, atol=1 if original.white == 255 else 2)
    assert (result.alpha is None) == (original.alpha is None)
    assert result.alpha is None or np.array_equal(result.alpha, original.alpha)


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_valid_pixels_are_bit_exact_and_depth_and_alpha_stay(folder, channels, kind, name):
    if name == "a.tiff" and channels == 2 and kind == np.uint16:
        pytest.skip("16-bit TIFF with gray and alpha is written as RGBA")
    original = add(folder, name, picture(channels, kind))
    output = predict(folder)
    assert [path.name for path in output.iterdir()] == ["a.png"]
    check(read_picture(output / "a.png"), original)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (31, 64), (101, 67)])
def test_any_size(folder, size):
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2 + 1, : size[1] // 2] = 255
    original = add(folder, "a.png", picture(size=size), mask)
    if mask.any():
        output = predict(folder)
    else:
        output = folder / "out"
        with (
            pytest.warns(UserWarning, match=r"a\.png: its mask has no hole"),
            pytest.raises(ValueError, match="nothing was filled"),
        ):
            predict(folder)
    check(read_picture(output / "a.png"), original, mask > 0)


def test_exif_orientation_is_applied(folder):
    photo = RNG.integers(0, 256, (50, 60, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(folder / "images" / "a.png", exif=exif)
    Image.fromarray(hole()).save(folder / "masks" / "a.png")
    result = read_picture(predict(folder) / "a.png")
    check(result, Picture(np.rot90(photo, -1)))


def test_cmyk_becomes_rgb_which_is_said(folder):
    Image.new("CMYK", (50, 60), (10, 200, 30, 40)).save(folder / "images" / "a.jpg")
    Image.fromarray(hole()).save(folder / "masks" / "a.png")
    with pytest.warns(UserWarning, match=r"a\.jpg: converted from CMYK to RGB"):
        output = predict(folder)
    check(read_picture(output / "a.png"), read_picture(folder / "images" / "a.jpg"))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_polarity_one_mask_for_all_and_names_with_mask(folder, kind):
    originals = {name: add(folder, name, mask=False) for name in ("a.png", "b.png")}
    file = folder / "masks" / "one.png"
    Image.fromarray(np.iinfo(kind).max - hole(kind=kind)).save(file)
    output = predict(folder, predict_masks=file, mask_polarity="white_valid")
    for name, original in originals.items():
        check(read_picture(output / name), original)
    for name in ("a_mask.png", "b_mask.png"):
        Image.fromarray(hole()).save(folder / "masks" / name)
    output = predict(folder, folder / "again")
    check(read_picture(output / "b.png"), originals["b.png"])


def test_the_wrong_polarity_stops_unless_insisted_on(folder):
    original = add(folder, "a.png")
    with pytest.raises(
        ValueError, match=r"pass --data.mask_polarity white_hole.*--data.predict_mask_polarity white_valid"
    ):
        predict(folder, mask_polarity="white_valid")
    with pytest.raises(ValueError, match="What does white mean in"):
        predict(folder, mask_polarity=None)
    output = predict(folder, mask_polarity="white_hole", predict_mask_polarity="white_valid")
    check(read_picture(output / "a.png"), original, hole() == 0)


def test_a_mask_of_another_size_is_named_or_fitted(folder):
    originals = [add(folder, "a.png"), add(folder, "b.png", mask=hole((120, 100)))]
    small = np.zeros((30, 25), np.uint8)
    small[5:15, 3:22] = 255
    Image.fromarray(small).save(folder / "masks" / "b.png")
    with pytest.raises(
        PictureError, match=r"1 pictures could not.*\n.*b\.png has 25x30 pixels, but .*50x60.*fit_masks"
    ):
        predict(folder)
    check(read_picture(folder / "out" / "a.png"), originals[0])
    assert not (folder / "out" / "b.png").exists()
    output = predict(folder, fit_masks="nearest")
    check(read_picture(output / "b.png"), originals[1], small.repeat(2, 0).repeat(2, 1) > 0)


def test_a_mask_between_black_and_white_is_thresholded_and_counted(folder):
    mask = hole()
    mask[10, 5:10], mask[0, 0] = 100, 200
    original = add(folder, "a.png", mask=mask)
    with pytest.warns(UserWarning, match=r"a\.png: 6 of 3000 pixels \(0\.20%\) are neither black nor white"):
        output = predict(folder)
    check(read_picture(output / "a.png"), original, mask > 127)


def test_a_mask_of_everything_is_named_and_the_picture_copied(folder):
    everything = np.full((60, 50), 255, np.uint8)
    originals = [add(folder, "a.png", mask=everything), add(folder, "b.png", mask=everything - everything)]
    add(folder, "c.png")
    with pytest.warns(UserWarning, match="copied unchanged") as said:
        output = predict(folder)
    told = [str(one.message) for one in said]
    assert any("a.png: its mask covers all of it; it is copied" in one for one in told)
    assert any("b.png: its mask has no hole; it is copied" in one for one in told)
    for name, original in zip(("a.png", "b.png"), originals, strict=True):
        assert np.array_equal(read_picture(output / name).color, original.color)


@pytest.mark.faults
@pytest.mark.parametrize("value", [0, 255])
def test_nothing_to_fill_in_any_picture_is_an_error(folder, value, capsys):
    original = add(folder, "a.png", mask=np.full((60, 50), value, np.uint8))
    with (
        pytest.warns(UserWarning, match="copied unchanged"),
        pytest.raises(ValueError, match=r"nothing was filled: none of the 1 pictures"),
    ):
        predict(folder)
    assert np.array_equal(read_picture(folder / "out" / "a.png").color, original.color)
    assert "0 filled pictures and 1 copied unchanged" in capsys.readouterr().out


@pytest.mark.faults
@pytest.mark.parametrize("value", [(255, 0, 0), (0, 255, 0), (2, 2, 2)])
def test_a_mask_that_means_nothing_is_refused_and_the_rest_is_done(folder, value):
    add(folder, "a.png")
    add(folder, "b.png", mask=np.where(hole()[..., None] > 0, np.array(value), 0).astype(np.uint8))
    with pytest.raises(
        PictureError, match=r"1 pictures .*\n.*b\.png is not filled.*predict_mask_polarity nonblack_hole"
    ):
        predict(folder)
    assert [path.name for path in (folder / "out").iterdir()] == ["a.png"]


def test_what_a_mask_means_can_be_said(folder):
    original = add(folder, "a.png", mask=np.where(hole()[..., None] > 0, (255, 0, 0), 0).astype(np.uint8))
    output = predict(folder, mask_polarity=None, predict_mask_polarity="nonblack_hole")
    check(read_picture(output / "a.png"), original)
    original = add(folder, "a.png", mask=np.where(hole() > 0, 127, 0).astype(np.uint8))
    with pytest.warns(UserWarning, match="those above 0.25 count as white"):
        output = predict(folder, predict_mask_threshold=0.25)
    check(read_picture(output / "a.png"), original)
    with pytest.raises(ValueError, match="predict_mask_threshold"):
        predict(folder, predict_mask_threshold=1.0)


@pytest.mark.faults
def test_pixels_that_no_valid_one_reached_are_counted(folder):
    mask = np.full((60, 50), 255, np.uint8)
    mask[:, :2] = 0
    add(folder, "a.png", mask=mask)
    data = {"predict_masks": folder / "masks", "predict_mask_polarity": "white_hole", "num_workers": 0}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    torch.manual_seed(0)  # some weights give a few pixels the very color of what is not reached
    task = InpaintingTask(depth=2, width=4)
    trainer = Trainer(callbacks=[InpaintedPictures(str(folder / "out"))], **quiet)
    said = r"a\.png: no valid pixel reached ([0-9]+) of the 2880 pixels of its hole"
    with pytest.warns(UserWarning, match=said) as caught:
        trainer.predict(task, Places2DataModule(predict_images=folder / "images", **data), return_predictions=False)
    (count,) = (re.match(r".*" + said, str(one.message))[1] for one in caught if "reached" in str(one.message))
    # Those that the network says the same of, whatever is valid.
    result = read_picture(folder / "out" / "a.png").color.reshape(-1, 3)
    untouched = np.rint(255 * np.array([0.485, 0.456, 0.406])).astype(np.uint8)
    assert int(count) > 1000
    assert int(count) == np.count_nonzero((result == untouched).all(axis=1))


def test_broken_files_are_named_and_the_rest_is_done(folder):
    originals = {name: add(folder, name) for name in ("a.png", "c.png", "e.png")}
    for name in ("b.jpg", "z.png"):
        (folder / "images" / name).write_bytes(b"\xff\xd8 broken")
        Image.fromarray(hole()).save(folder / "masks" / f"{Path(name).stem}.png")
    add(folder, "d.png")
    (folder / "masks" / "d.png").write_bytes(b"")
    with pytest.raises(PictureError, match="3 pictures could not be used; all others are done") as caught:
        predict(folder)
    for file in ("images/b.jpg", "images/z.png", "masks/d.png"):
        assert file in str(caught.value)
    assert sorted(path.name for path in (folder / "out").iterdir()) == list(originals)
    for name, original in originals.items():
        check(read_picture(folder / "out" / name), original)


def test_nothing_but_broken_files(folder):
    (folder / "images" / "a.png").write_bytes(b"")
    Image.fromarray(hole()).save(folder / "masks" / "a.png")
    with pytest.raises(PictureError, match=r"1 pictures could not be used.*\n.*a\.png"):
        predict(folder)


def test_what_can_be_known_before_is_refused_before(folder):
    add(folder, "a.png")
    add(folder, "a.tiff")
    with pytest.raises(ValueError, match=r"a\.png and .*a\.tiff have the same name"):
        predict(folder)
    (folder / "images" / "a.tiff").unlink()
    add(folder, "lonely.png", mask=False)
    with pytest.raises(ValueError, match=r"1 of 2 pictures have no mask in .*lonely\.png"):
        predict(folder)
    (folder / "images" / "lonely.png").unlink()
    Image.fromarray(hole()).save(folder / "masks" / "a.bmp")
    with pytest.raises(ValueError, match=r"a\.png has 2 masks"):
        predict(folder)
    with pytest.raises(FileNotFoundError, match="no such folder or image"):
        predict(folder, predict_masks=folder / "nowhere")
    with pytest.raises(ValueError, match=r"--data\.predict_masks"):
        predict(folder, predict_masks=None)
    assert not list((folder / "out").glob("*"))


@pytest.mark.parametrize("place", ["images", "masks"])
def test_inputs_are_never_replaced(folder, place):
    add(folder, "a.png")
    before = (folder / place / "a.png").read_bytes()
    with pytest.raises(ValueError, match=r"would replace the input .*a\.png"):
        predict(folder, folder / place)
    assert (folder / place / "a.png").read_bytes() == before
    assert not list((folder / place).glob(".*"))


def test_other_formats_and_sheets_on_request(folder, capsys):
    original = add(folder, "a.png", picture(4, np.uint16))
    output = folder / "out"
    with pytest.warns(UserWarning, match=r"a\.png: jpg does not keep alpha and 8 of the 16 bits"):
        predict(folder, callback=InpaintedPictures(str(output), format="jpg", sheets=True))
    assert f"1 filled pictures: {output}" in capsys.readouterr().out
    assert read_picture(output / "a.jpg").size == original.size
    sheet = read_picture(output / "sheets" / "a.png").color
    assert sheet.shape == (60, 3 * 50 + 8, 3)
    assert np.array_equal(sheet[:, :50], original.color // 257)
    assert np.array_equal(sheet[:, 54:104, 0] == 255, hole() == 0)
    assert abs(int(sheet[20, 130, 0]) - FILLING * 255) <= 1
    predict(folder, callback=InpaintedPictures(str(output), format="tiff"))
    check(read_picture(output / "a.tiff"), original)
    with pytest.raises(ValueError, match="Expected argument `format`"):
        InpaintedPictures(format="gif")


def test_sheets_of_tall_gray_pictures_are_shrunk(folder):
    add(folder, "a.png", picture(1, size=(1100, 300)), hole((1100, 300)))
    output = predict(folder, callback=InpaintedPictures(str(folder / "out"), sheets=True))
    assert read_picture(output / "sheets" / "a.png").size == (512, 3 * 140 + 8)


def test_a_gray_picture_takes_the_luminance():
    image = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    gray = compose(picture(1, size=(4, 4)), image, torch.eye(4)).color
    assert gray[0, 1, 0] == round(255 * (0.299 + 0.587 / 2 + 0.114 / 4))


def test_broken_or_misshapen_predictions_are_refused():
    original = picture(size=(4, 4))
    with pytest.raises(ValueError, match="not finite"):
        compose(original, torch.full((1, 3, 4, 4), float("nan")), torch.eye(4))
    with pytest.raises(ValueError, match="Expected a prediction of"):
        compose(original, torch.zeros(1, 3, 8, 8), torch.eye(4))


STAND_IN = """
import torch
from pcpad.filling import fill
from pcpad.tasks.base import Task
from pcpad.tasks.callbacks import InpaintedPictures


class CommandStandIn(Task):
    def predict_step(self, batch, batch_idx):
        image = fill(lambda image, mask: torch.full_like(image, 0.6), batch["image"], batch["mask"])
        return {"path": batch["path"], "image": image}

    def prediction_writer(self, output=None):
        return InpaintedPictures(output)
"""


@pytest.fixture
def command(folder, monkeypatch):
    (folder / "command_stand_in.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.logger=false"]

    def run(*args):
        data = ["--data=Places2DataModule", "--data.predict_images=images", "--data.predict_masks=masks"]
        cli.main(["predict", "--model=command_stand_in.CommandStandIn", *data, *quiet, *args])

    return run


def test_from_the_command_line(folder, command, capsys):
    original = add(folder, "a.png")
    command("--data.mask_polarity=white_hole", "--output=filled")
    check(read_picture(folder / "filled" / "a.png"), original)
    writer = [
        "--trainer.callbacks+=InpaintedPictures",
        "--trainer.callbacks.format=tiff",
        "--trainer.callbacks.sheets=true",
    ]
    command("--data.mask_polarity=white_hole", "--output=tiffs", *writer)
    assert sorted(path.name for path in (folder / "tiffs").iterdir()) == ["a.tiff", "sheets"]
    assert not list(folder.glob("predictions*"))


def test_a_broken_file_makes_the_command_fail_in_the_end(folder, command, capsys):
    original = add(folder, "b.png")
    (folder / "images" / "a.png").write_bytes(b"no")
    Image.fromarray(hole()).save(folder / "masks" / "a.png")
    with pytest.raises(SystemExit) as caught:
        command("--data.mask_polarity=white_hole", "--output=filled")
    assert caught.value.code == 1
    message = capsys.readouterr().err
    assert "images/a.png: not a picture" in message
    assert "Traceback" not in message
    check(read_picture(folder / "filled" / "b.png"), original)


def test_reading_leaves_a_cut_off_photograph_to_the_list_of_failures(folder):
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (60, 50, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=95)
    (folder / "images" / "a.jpg").write_bytes(buffer.getvalue()[:2000])
    Image.fromarray(hole()).save(folder / "masks" / "a.png")
    with pytest.raises(PictureError, match=r"a\.jpg: .*truncated"):
        predict(folder)

"""`pcpad fill` from the command line: every format, valid pixels bit by bit, and bad input that stops nothing else."""

import errno
import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

import pcpad.commands.fill as fill
from pcpad import cli
from pcpad.commands.filling.results import SheetRow, draw_sheet
from pcpad.errors import UserFileNotFoundError
from pcpad.pictures import read_picture

HOLE = (slice(20, 26), slice(30, 60))


@pytest.fixture(autouse=True)
def _without_a_network(monkeypatch, tmp_path):
    """What is tested here is what is around it, so that random weights, or none, will do."""

    def missing():
        message = "none ships"
        raise UserFileNotFoundError(message)

    monkeypatch.setattr("pcpad.filling.shipped_network", missing)
    monkeypatch.setattr("pcpad._filling_picture.shipped_network", missing)
    monkeypatch.chdir(tmp_path)


def photograph(channels=3, kind=np.uint8, height=50, width=80):
    draws = np.random.default_rng(0)
    small = draws.integers(30, 220, (6, 8, channels)).astype(np.float32)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)
    return (pixels.clip(0, 255) * (257 if kind is np.uint16 else 1)).astype(kind)


def damaged(*args, **options):
    pixels = photograph(*args, **options)
    pixels[HOLE] = np.iinfo(pixels.dtype).max
    return pixels


def mask(height=50, width=80, name="mask.png"):
    pixels = np.zeros((height, width), np.uint8)
    pixels[HOLE] = 255
    Image.fromarray(pixels).save(name)
    return pixels != 0


def save(pixels, name, **options):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(name, **options)


def run(*args, code=0):
    if not code:
        cli.main(["fill", *map(str, args)])
        return
    with pytest.raises(SystemExit) as stop:
        cli.main(["fill", *map(str, args)])
    assert stop.value.code == code


def exif(orientation=1):
    found = Image.Exif()
    found[271], found[274] = "Maker", orientation
    found.get_ifd(0x8769)[36867] = "1987:06:05 12:00:00"
    found.get_ifd(0x8825)[1], found.get_ifd(0x8825)[2] = "N", (48.0, 8.0, 0.0)
    return found.tobytes()


# Of each file what it is saved with, and what its result is called.
FORMATS = {
    "a.jpg": ({"quality": 95}, "a.png"),
    "a.png": ({}, "a.png"),
    "a.bmp": ({}, "a.png"),
    "a.webp": ({"lossless": True}, "a.png"),
    "a.tif": ({"compression": "tiff_lzw"}, "a.tif"),
    "a.avif": ({"quality": 90}, "a.png"),
    "a.ppm": ({}, "a.png"),
}


def checked(source, result, hole):
    """That what is valid is bit by bit the same, in the same depth, and that the hole is filled smoothly."""
    before, after = read_picture(source, keep_inks=True), read_picture(result, keep_inks=True)
    assert after.color.dtype == before.color.dtype
    assert after.color.shape == before.color.shape
    assert np.array_equal(after.color[~hole], before.color[~hole])
    white = before.white
    assert (after.color[hole] < 0.95 * white).mean() > 0.9
    return before, after


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format(name, channels):
    if name == "a.avif" and channels == 1:
        pytest.skip("AVIF is read as RGB")
    options, result = FORMATS[name]
    save(damaged(channels), f"in/{name}", **options)
    hole = mask()
    run("in", "--masks", "mask.png", "--output", "out")
    assert [path.name for path in Path("out").iterdir()] == [result]
    checked(f"in/{name}", f"out/{result}", hole)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("method", ["auto", "ns"])
def test_sixteen_bits_stay_sixteen_bits(method, ending, channels):
    pixels = damaged(channels, np.uint16)
    cv2.imwrite(f"a.{ending}", pixels[..., ::-1])
    hole = mask()
    run(f"a.{ending}", "--masks", "mask.png", "--output", "out", "--method", method)
    before, _ = checked(f"a.{ending}", f"out/a.{ending}", hole)
    assert before.color.dtype == np.uint16


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_inks_stay_inks(name):
    inks = 255 - damaged(4)
    options = {"quality": 95} if name == "a.jpg" else {}
    Image.frombuffer("CMYK", (80, 50), inks, "raw", "CMYK", 0, 1).save(name, dpi=(300, 300), **options)
    hole = mask()
    run(name, "--masks", "mask.png", "--output", "out")
    _, after = checked(name, "out/a.tif", hole)
    assert after.is_ink
    with Image.open("out/a.tif") as image, Image.open(name) as original:
        assert image.mode == "CMYK"
        assert np.array_equal(np.asarray(image)[~hole], np.asarray(original)[~hole])
        assert image.info["dpi"] == (300, 300)


def test_png_has_no_inks_which_is_said(capsys):
    Image.frombuffer("CMYK", (80, 50), 255 - damaged(4), "raw", "CMYK", 0, 1).save("a.tif")
    mask()
    run("a.tif", "--masks", "mask.png", "--output", "out", "--format", "png")
    assert "png does not keep its inks (CMYK), which become RGB" in capsys.readouterr().out
    with Image.open("out/a.png") as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize(("name", "options"), [("a.jpg", {"quality": 95}), ("a.png", {}), ("a.tif", {})])
def test_exif_profile_and_resolution_are_kept(name, options):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save(damaged(), name, exif=exif(), icc_profile=profile, dpi=(240, 240), **options)
    mask()
    run(name, "--masks", "mask.png", "--output", "out")
    with Image.open(next(Path("out").iterdir())) as image:
        assert image.info["icc_profile"] == profile
        assert [round(value) for value in image.info["dpi"]] == [240, 240]
        found = image.getexif()
        assert found[271] == "Maker"
        assert found.get_ifd(0x8769)[36867] == "1987:06:05 12:00:00"
        assert found.get_ifd(0x8825)[1] == "N"


@pytest.mark.faults
def test_a_turned_photograph_is_filled_upright():
    upright = damaged()
    save(np.ascontiguousarray(np.rot90(upright)), "a.png", exif=exif(6))
    hole = mask()
    run("a.png", "--masks", "mask.png", "--output", "out")
    _, after = checked("a.png", "out/a.png", hole)
    assert np.array_equal(after.color[~hole], upright[~hole])
    with Image.open("out/a.png") as image:
        assert image.size == (80, 50)
        assert 274 not in image.getexif()
        assert image.getexif()[271] == "Maker"


@pytest.mark.faults
def test_what_was_erased_softly_becomes_opaque_up_to_its_edge():
    pixels, alpha = damaged(), np.full((50, 80), 255, np.uint8)
    alpha[15:31, 25:65], alpha[HOLE] = 200, 10
    alpha[HOLE[0], :15] = 200  # does not touch it
    save(np.dstack([pixels, alpha]), "a.png")
    run("a.png", "--mask_from", "alpha", "--output", "out")
    after = read_picture("out/a.png")
    assert (after.alpha[:, 15:] == 255).all()
    assert np.array_equal(after.alpha[:, :15], alpha[:, :15])
    outside = np.ones((50, 80), bool)
    outside[HOLE] = False
    assert np.array_equal(after.color[outside], pixels[outside])


def test_alpha_is_kept_or_is_the_hole():
    alpha = np.full((50, 80, 1), 255, np.uint8)
    alpha[HOLE], alpha[40:, :10] = 10, 200
    save(np.dstack([damaged(), alpha]), "a.png")
    run("a.png", "--mask_from", "alpha", "--output", "out")
    hole = mask()
    before, after = checked("a.png", "out/a.png", hole)
    assert (after.alpha[hole] == 255).all()
    assert np.array_equal(after.alpha[~hole], before.alpha[~hole])
    run("a.png", "--masks", "mask.png", "--output", "out", "--overwrite")
    assert np.array_equal(read_picture("out/a.png").alpha, alpha[..., 0])


@pytest.mark.faults
def test_what_is_filled_where_the_picture_is_transparent_is_not_seen_which_is_said(capsys):
    alpha = np.full((50, 80, 1), 255, np.uint8)
    alpha[HOLE] = 0
    alpha[20:22] = 255
    save(np.dstack([damaged(), alpha]), "a.png")
    mask()
    run("a.png", "--masks", "mask.png", "--output", "out", "--method", "telea")
    said = capsys.readouterr().out
    assert "a.png: 120 of the 180 filled pixels are transparent and stay so" in said
    assert "--mask_from alpha" in said
    run("a.png", "--mask_from", "alpha", "--output", "opaque", "--method", "telea")
    assert "stay so" not in capsys.readouterr().out


def test_red_paint(capsys):
    pixels = photograph() // 2
    pixels[HOLE] = (255, 0, 0)
    save(pixels, "a.png")
    run("a.png", "--mask_from", "red", "--output", "out", "--masks_too")
    after = read_picture("out/a.png").color
    assert not (after[..., 0] > 200).any()
    written = read_picture("out/a_mask.png").color[..., 0]
    assert (written[HOLE] == 255).all()
    assert (written == 255).sum() == 8 * 32 - 4  # a pixel wider all around, with a disc's corners


@pytest.mark.faults
def test_scratches_are_proposed_and_the_proposal_is_written(capsys):
    pixels = photograph(height=200, width=300)
    cv2.line(pixels, (10, 20), (280, 160), (255, 255, 255), 2)
    save(pixels, "scan.png")
    run("scan.png", "--mask_from", "scratches", "--output", "out")
    said = capsys.readouterr().out
    assert "what was taken for scratches is white in out/scan_mask.png: look at it" in said
    assert read_picture("out/scan_mask.png").color.mean() > 1
    # The mask serves as one.
    run("scan.png", "--masks", "out", "--output", "again")
    assert Path("out/scan.png").read_bytes() == Path("again/scan.png").read_bytes()


def test_masks_only_fills_nothing(capsys):
    pixels = photograph(height=200, width=300)
    cv2.line(pixels, (10, 20), (280, 160), (255, 255, 255), 2)
    save(pixels, "scan.png")
    run("scan.png", "--mask_from", "scratches", "--output", "out", "--masks_only")
    assert [path.name for path in Path("out").iterdir()] == ["scan_mask.png"]
    assert "1 masks of 1 pictures" in capsys.readouterr().out


def test_masks_beside_pictures_and_a_sheet():
    save(damaged(), "in/a.png")
    save(damaged(), "in/deep/b.png")
    mask(name="in/a_mask.png")
    mask(name="in/deep/b_mask.png")
    run("in", "--output", "out", "--sheet", "out/sheet.png")
    assert sorted(str(path) for path in Path("out").rglob("*.png")) == ["out/a.png", "out/deep/b.png", "out/sheet.png"]
    sheet = read_picture("out/sheet.png").color
    assert sheet.shape[1] == 3 * 80 + 4 * 8
    assert (sheet == (255, 60, 60)).all(axis=2).sum() == 2 * 6 * 30


@pytest.mark.faults
def test_letters_with_accents_stand_on_the_sheet_without_them():
    sheets = []
    for name in ("caf\u00e9", "cafe\u0301", "cafe"):
        row = SheetRow(name, (Image.new("RGB", (20, 20)),) * 3)
        sheets.append(read_picture(draw_sheet([row], Path("sheet.png"))).color)
    assert np.array_equal(sheets[0], sheets[2])
    assert np.array_equal(sheets[1], sheets[2])


def test_what_filled_what_is_said(capsys):
    save(damaged(), "a.png")
    mask()
    run("a.png", "--masks", "mask.png", "--output", "out", "--method", "telea")
    said = capsys.readouterr().out
    assert "a.png: 4.50% filled (telea 180 pixels): out/a.png" in said
    assert "1 of 1 pictures filled (telea 180 pixels): out" in said


def test_auto_without_a_network_says_so(capsys):
    save(damaged(), "a.png")
    mask()
    run("a.png", "--masks", "mask.png", "--output", "out")
    assert "auto uses classical methods alone, without a network: none ships" in capsys.readouterr().out


@pytest.mark.faults
def test_network_without_one_is_refused(capsys):
    save(damaged(), "a.png")
    mask()
    run("a.png", "--masks", "mask.png", "--output", "out", "--method", "network", code=1)
    assert "none ships" in capsys.readouterr().err
    assert not Path("out").exists()


def test_jpeg_where_it_is_asked_for():
    save(damaged(), "a.png", exif=exif())
    mask()
    run("a.png", "--masks", "mask.png", "--output", "out", "--format", "jpg")
    with Image.open("out/a.jpg") as image:
        assert image.format == "JPEG"
        assert image.getexif()[271] == "Maker"


@pytest.mark.faults
def test_one_bad_picture_stops_no_other(capsys):
    save(damaged(), "in/a.png")
    save(damaged(), "in/z.png")
    save(damaged(height=40), "in/other_size.png")
    save(damaged(), "in/none.png")
    save(damaged(), "in/all.png")
    data = io.BytesIO()
    Image.fromarray(damaged()).save(data, "JPEG")
    Path("in/cut.jpg").write_bytes(data.getvalue()[:400])
    Path("in/notes.xyz").write_bytes(b"%PDF-1.4")
    for name in ("a", "z", "other_size", "cut"):
        Path("masks").mkdir(exist_ok=True)
        mask(name=f"masks/{name}.png")
    Image.new("L", (80, 50), 255).save("masks/all.png")
    run("in", "--masks", "masks", "--output", "out", "--mask_polarity", "white_hole", code=1)
    said = capsys.readouterr()
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "z.png"]
    assert "2 of 5 pictures filled" in said.out
    for words in (
        "in/other_size.png: its mask masks/other_size.png has 80x50 pixels, but the picture has 80x40",
        "in/none.png: there is no mask in masks",
        "in/all.png: its mask masks/all.png covers 100 % of it",
        "in/cut.jpg: ",
        "in/notes.xyz: a PDF document",
    ):
        assert words in said.err, words


@pytest.mark.faults
def test_pictures_without_holes_are_copied_and_if_all_are_that_is_an_error(capsys):
    save(damaged(), "in/a.png")
    save(damaged(), "in/b.png")
    Path("masks").mkdir()
    mask(name="masks/a.png")
    Image.new("L", (80, 50)).save("masks/b.png")
    run("in", "--masks", "masks", "--output", "out")
    assert "1 of 2 pictures filled (biharmonic 180 pixels), 1 had no hole and were copied" in capsys.readouterr().out
    assert np.array_equal(read_picture("out/b.png").color, read_picture("in/b.png").color)
    run("in/b.png", "--masks", "masks", "--output", "again", code=1)
    assert "Nothing was filled" in capsys.readouterr().err


@pytest.mark.faults
def test_nothing_that_is_read_is_replaced(capsys):
    save(damaged(), "in/a.png")
    mask(name="in/a_mask.png")
    before = Path("in/a.png").read_bytes()
    run("in", "--output", "in", "--overwrite", code=1)
    assert "would replace the input in/a.png" in capsys.readouterr().err
    run("in", "--output", "out", "--sheet", "in/a.png", code=1)
    assert "would replace the input" in capsys.readouterr().err
    assert Path("in/a.png").read_bytes() == before


@pytest.mark.faults
def test_results_that_are_there_stay_unless_told_otherwise(capsys):
    save(damaged(), "a.png")
    mask()
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"mine")
    run("a.png", "--masks", "mask.png", "--output", "out", code=1)
    assert "out/a.png is there already: pass --overwrite" in capsys.readouterr().err
    assert Path("out/a.png").read_bytes() == b"mine"
    run("a.png", "--masks", "mask.png", "--output", "out", "--overwrite")
    assert Path("out/a.png").read_bytes() != b"mine"


@pytest.mark.faults
def test_pictures_of_one_name_are_both_filled(capsys):
    save(damaged(), "in/a.png")
    save(damaged(), "in/a.jpg")
    mask()
    run("in", "--masks", "mask.png", "--output", "out")
    assert sorted(path.name for path in Path("out").iterdir()) == ["a_jpg.png", "a_png.png"]


@pytest.mark.faults
def test_a_folder_that_cannot_be_written_to_is_heard_of_first(capsys, monkeypatch):
    save(damaged(), "a.png")
    mask()

    def touch(path, *args, **options):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "touch", touch)
    monkeypatch.setattr(fill, "read_picture", None)
    run("a.png", "--masks", "mask.png", "--output", "out", code=1)
    assert "Read-only file system" in capsys.readouterr().err
    run("a.png", "--masks", "mask.png", "--output", "mask.png", code=1)
    assert "Expected --output to be a folder" in capsys.readouterr().err


@pytest.mark.faults
def test_a_place_where_no_folder_can_be_made_is_no_bug(capsys, monkeypatch):
    save(damaged(), "a.png")
    mask()

    def mkdir(path, *args, **options):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)  # as below /proc
    run("a.png", "--masks", "mask.png", "--output", "out", code=1)
    error = capsys.readouterr().err
    assert "pcpad: error: --output out: nothing can be written there: No such file or directory" in error


@pytest.mark.faults
def test_what_is_typed_wrong_is_said_in_a_sentence_and_without_waiting_for_torch():
    code = (
        "import sys; from pcpad import cli\n"
        "try: cli.main(['fill', 'a.png', '--output', 'out', '--method', 'telae'])\n"
        "finally: print(sorted({'torch', 'skimage', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert "invalid choice: 'telae'" in done.stderr
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.faults
@pytest.mark.parametrize("value", [0, 90, 255])
def test_one_color_and_one_pixel(value, capsys):
    save(np.full((50, 80, 3), value, np.uint8), "a.png")
    save(np.full((1, 1, 3), value, np.uint8), "b.png")
    mask()
    run("a.png", "--masks", "mask.png", "--output", "out")
    assert (read_picture("out/a.png").color == value).all()
    Image.new("L", (1, 1), 255).save("white.png")
    run("b.png", "--masks", "white.png", "--output", "out", "--mask_polarity", "white_hole", code=1)
    assert "b.png: its mask white.png covers 100 % of it" in capsys.readouterr().err
    run("b.png", "--mask_from", "scratches", "--output", "out", code=1)
    assert "Nothing was filled: no scratch was found." in capsys.readouterr().err


@pytest.mark.faults
def test_options_that_exclude_each_other(capsys):
    save(damaged(), "a.png")
    mask()
    run("a.png", "--masks", "mask.png", "--mask_from", "red", "--output", "out", code=1)
    assert "--masks is about masks in files, and --mask_from makes them" in capsys.readouterr().err
    run("a.png", "--masks", "mask.png", "--method", "ns", "--weights", "x", "--output", "out", code=1)
    assert "--method ns has none" in capsys.readouterr().err
    run("a.png", "--mask_from", "purplish", "--output", "out", code=2)
    run("a.png", "--masks", "mask.png", "--output", "out", "--sheet", "sheet.jpg", code=1)
    assert "Expected --sheet to be a PNG file" in capsys.readouterr().err
    run("a.png", "--masks", "mask.png", "--output", "out", "--tolerance", "300", code=2)
    run("a.png", "--masks", "mask.png", "--output", "out", "--mask_threshold", "2", code=2)
    assert not Path("out").exists()


def test_large_holes_say_how_much_is_guessed(capsys):
    save(damaged(height=200, width=200), "a.png")
    pixels = np.zeros((200, 200), np.uint8)
    pixels[20:180, 20:180] = 255
    Image.fromarray(pixels).save("mask.png")
    run(*("a.png", "--masks", "mask.png", "--output", "out", "--method", "telea"), "--mask_polarity", "white_hole")
    assert (
        "too far from anything valid for it: they are filled at a smaller size, so they are blurred"
        in capsys.readouterr().out
    )


@pytest.mark.faults
def test_a_forgotten_mask_is_asked_for_and_no_folder_is_made(capsys):
    save(damaged(), "photo.png")
    mask()
    run("photo.png", "mask.png", "--output", "out", code=1)
    said = capsys.readouterr()
    assert "photo.png: there is no mask beside it (photo_mask.*); pass --masks FILE, or let --mask_from" in said.err
    assert "nothing is filled:" in said.err
    assert "0 of 0" not in said.out
    assert not Path("out").exists()


@pytest.mark.faults
def test_an_inverted_mask_is_a_matter_of_polarity(capsys):
    save(damaged(), "photo.png")
    mask()
    run("photo.png", "--masks", "mask.png", "--output", "out", "--invert", code=2)
    said = capsys.readouterr().err
    assert "Did you mean --mask_polarity white_valid?" in said
    assert "--overwrite" not in said


@pytest.mark.faults
def test_an_output_called_like_a_picture_is_refused_unless_it_is_a_folder(capsys):
    save(damaged(), "photo.png")
    mask()
    run("photo.png", "--masks", "mask.png", "--output", "filled.PNG", code=1)
    assert "Expected --output to be a folder for the results, but filled.PNG is called like" in capsys.readouterr().err
    assert not Path("filled.PNG").exists()
    Path("filled.PNG").mkdir()
    run("photo.png", "--masks", "mask.png", "--output", "filled.PNG", "--method", "telea")
    assert Path("filled.PNG/photo.png").exists()


@pytest.mark.parametrize("color", [0, 255])
def test_a_layer_of_strokes_is_a_mask_whose_opaque_part_is_filled(capsys, color):
    save(damaged(), "photo.png")
    alpha = np.zeros((50, 80, 1), np.uint8)
    alpha[HOLE] = 255
    save(np.dstack([np.full((50, 80, 3), color, np.uint8), alpha]), "layer.png")
    run("photo.png", "--masks", "layer.png", "--output", "out", code=1)
    if color:
        assert "opaque_hole (all that is not)" in capsys.readouterr().err
    layer = ("--masks", "layer.png", "--mask_polarity", "opaque_hole")
    run("photo.png", *layer, "--output", "out", "--method", "telea")
    assert "4.50% filled" in capsys.readouterr().out
    checked("photo.png", "out/photo.png", mask())


@pytest.mark.heif
def test_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(damaged())).save("a.heic", quality=95)
    hole = mask()
    run("a.heic", "--masks", "mask.png", "--output", "out")
    checked("a.heic", "out/a.png", hole)

"""`pcpad check`: everything wrong with a data set is found, listed in a CSV, and told by the exit code."""

import csv
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pcpad import cli
from pcpad.datamodules import KineticsDataModule


@pytest.fixture
def root(kinetics_sample, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    for path in kinetics_sample.rglob("*"):
        if path.is_file():
            copy = folder / path.relative_to(kinetics_sample)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return folder


def check(*args, code=0):
    if code:
        with pytest.raises(SystemExit) as caught:
            cli.main(["check", *map(str, args)])
        assert caught.value.code == code
    else:
        cli.main(["check", *map(str, args)])


def listed(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["path"]: (row["problem"], row["detail"]) for row in rows}


def test_a_whole_sample(root, capsys):
    check("kinetics", "--data.root", root, "--data.annotations", "annotations/{split}.csv")
    assert listed("check_kinetics.csv") == {}
    assert "kinetics: 12 files decoded: 0 broken, 0 short, 0 missing" in capsys.readouterr().out


def test_everything_wrong_at_once(root, capsys):
    names = {path.parent.name: path for path in sorted((root / "train").rglob("*.mp4"))}
    relative = {motion: path.relative_to(root).as_posix() for motion, path in names.items()}
    data = KineticsDataModule(root, num_workers=0)
    data.setup("fit")
    assert len(data._split("train")) == 6
    names["growing"].write_bytes(b"")
    content = names["moving up"].read_bytes()
    names["moving up"].write_bytes(content[: len(content) // 2])
    names["spinning"].unlink()
    content = names["shrinking"].read_bytes()
    start = content.index(b"mdat") + 4
    middle = start + (len(content) - start) // 3
    # x264 puts the header last: what it says stays.
    names["shrinking"].write_bytes(content[:middle] + b"\xff" * 400 + content[middle + 400 :])
    with av.open(str(names["moving down"]), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 42, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 42, 3), np.uint8), "rgb24")))
        container.mux(stream.encode())
    rows = (root / "annotations" / "train.csv").read_text().replace(",val", "").splitlines()
    place = next(n for n, row in enumerate(rows) if row.startswith("shaking sideways"))
    label, name, begin, _, split = rows[place].split(",")
    rows[place] = ",".join([label, name, begin, str(int(begin) + 10), split])
    moved = names[label].with_name(f"{name}_{int(begin):06}_{int(begin) + 10:06}.mp4")
    names[label].rename(moved)
    (root / "annotations" / "train.csv").write_text("\n".join(rows) + "\n")
    check(
        "kinetics", "--data.root", root, "--data.annotations", "annotations/{split}.csv", "--csv", "out/l.csv", code=1
    )
    found = listed("out/l.csv")
    assert {path: problem for path, (problem, _) in found.items()} == {
        relative["growing"]: "broken",
        relative["moving up"]: "broken",
        relative["shrinking"]: "broken",
        relative["spinning"]: "missing",
        relative["moving down"]: "short",
        moved.relative_to(root).as_posix(): "short",
    }
    assert found[relative["growing"]][1] == "the file is empty"
    assert "1 frames, less than a clip of 16" in found[relative["moving down"]][1]
    assert "s instead of the annotated 10.00 s" in found[moved.relative_to(root).as_posix()][1]
    printed = capsys.readouterr().out
    assert "3 broken, 2 short, 1 missing. Listed in out/l.csv" in printed
    # What only decoding shows is known from now on.
    after = KineticsDataModule(root, num_workers=0)
    with pytest.warns(UserWarning, match="of 5 videos, 0 are missing and 3 broken"):
        after.setup("fit")
    assert len(after._split("train")) == 2


def pictures(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


def test_image_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "d", ["train/a/1.png", "train/b/2.jpg", "val/a/3.png"])
    check("photos", "--data.root", "d")
    check("places2", "--data.root", "d")
    (tmp_path / "d" / "val" / "b").mkdir()
    (tmp_path / "d" / "train" / "b" / "2.jpg").write_bytes(b"\xff\xd8")
    check("imagenet", "--data.root", "d", code=1)
    assert {path: problem for path, (problem, _) in listed("check_imagenet.csv").items()} == {
        "train/b/2.jpg": "broken",
        "val/b": "missing",
    }
    check("photos", "--data.root", "d", code=1)


def test_cityscapes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stem = "train/ulm/ulm_000000_00000{}"
    image, label = f"leftImg8bit/{stem}_leftImg8bit.png", f"gtFine/{stem}_gtFine_labelIds.png"
    pictures(tmp_path / "d", [image.format(number) for number in range(4)])
    for number, size in ((0, (8, 8)), (1, (8, 9)), (2, (8, 8)), (5, (8, 8))):
        path = tmp_path / "d" / label.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size, 77 if number == 2 else 7, np.uint8)).save(path)
    check("cityscapes", "--data.root", "d", code=1)
    found = listed("check_cityscapes.csv")
    assert {path: problem for path, (problem, _) in found.items()} == {
        label.format(1): "broken",
        label.format(2): "broken",
        label.format(5): "missing",
        image.format(3): "missing",
    }
    assert "9x8" in found[label.format(1)][1]
    # With instance maps for some, all are looked for, and looked at.
    instance = label.replace("labelIds", "instanceIds")
    for number, dtype, size in ((0, np.uint16, (8, 8)), (2, np.uint8, (8, 8)), (1, np.uint16, (8, 8))):
        Image.fromarray(np.full(size, 7, dtype)).save(tmp_path / "d" / instance.format(number))
    check("cityscapes", "--data.root", "d", code=1)
    found = {path: row for path, row in listed("check_cityscapes.csv").items() if "instanceIds" in path}
    assert {path: problem for path, (problem, _) in found.items()} == {
        instance.format(1): "broken",
        instance.format(2): "broken",
        instance.format(5): "missing",
    }
    assert "8-bit" in found[instance.format(2)][1]
    assert "9x8" in found[instance.format(1)][1]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["kinetic", "--data.root=x"], "Did you mean kinetics?"),
        (["kinetics", "--data.root=nowhere"], "pcpad sample kinetics"),
        (["photos", "--data.root=nowhere"], "no images below"),
        (["imagenet", "--data.root=nowhere"], "no class folders in"),
        (["cityscapes", "--data.root=nowhere"], "no *_leftImg8bit.png below"),
        (["photos", "--data.root=x", "--data.annotations=y.csv"], "photos has none"),
    ],
)
def test_mistakes_are_one_message(args, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    check(*args, code=1)
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message


@pytest.mark.faults
def test_what_is_not_used_is_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "d", ["train/a/1.png", "train/b/2.jpg", "val/a/3.png", "val/b/4.png", "train/5.png"])
    (tmp_path / "d" / "train" / "a" / "letter.docx").write_bytes(b"PK\3\4")
    (tmp_path / "d" / "train" / "a" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    (tmp_path / "d" / "train" / "a" / "notes.txt").write_text("well known")
    check("imagenet", "--data.root", "d", code=1)
    found = listed("check_imagenet.csv")
    assert {path: problem for path, (problem, _) in found.items()} == {
        "train/5.png": "unused",
        "train/a/IMG_1.HEIC": "broken",
        "train/a/letter.docx": "unused",
    }
    assert "1 broken, 0 short, 0 missing, 2 unused." in capsys.readouterr().out
    check("photos", "--data.root", "d", code=1)
    assert listed("check_photos.csv")["train/a/letter.docx"] == ("unused", "a ZIP archive")


@pytest.mark.faults
@pytest.mark.parametrize("ending", [".mkv", ".webm"])
def test_half_a_video_is_listed(ending, root, capsys, tmp_path):
    for path in (root / "train").rglob("*.mp4"):
        with av.open(str(path)) as whole, av.open(str(path.with_suffix(ending)), "w") as container:
            stream = container.add_stream("libvpx", rate=25)
            stream.height, stream.width, stream.pix_fmt = 32, 42, "yuv420p"
            for frame in whole.decode(video=0):
                container.mux(stream.encode(frame.reformat(42, 32, "yuv420p")))
            container.mux(stream.encode())
        path.unlink()
    check("kinetics", "--data.root", root, "--data.annotations", "annotations/{split}.csv")
    half = next((root / "train").rglob(f"*{ending}"))
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    check("kinetics", "--data.root", root, "--data.annotations", "annotations/{split}.csv", code=1)
    ((name, (problem, detail)),) = listed("check_kinetics.csv").items()
    assert (name, problem) == (half.relative_to(root).as_posix(), "broken")
    assert detail.startswith("truncated: ")


@pytest.mark.faults
def test_other_bytes_in_a_jpeg_are_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    (tmp_path / "d").mkdir()
    Image.fromarray(noise).save(tmp_path / "d" / "a.jpg", quality=90)
    data = (tmp_path / "d" / "a.jpg").read_bytes()
    check("photos", "--data.root", "d")
    (tmp_path / "d" / "a.jpg").write_bytes(data[:4000] + bytes(512) + data[4512:])
    check("photos", "--data.root", "d", code=1)
    assert listed("check_photos.csv")["a.jpg"][1].startswith("damaged: its pixel data from byte 4000 on are 51")


@pytest.mark.faults
def test_a_table_of_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a 1", "b 2", "ü 3", "broken", "nobody"):
        path = tmp_path / "d" / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    (tmp_path / "d" / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Path("d/table.csv").write_text(
        "file;species;fold\na 1.png;rose;train\nb 2.png;daisy;train\nü 3.png;tulip;val\nbroken.png;rose;train\n"
        "gone.png;rose;train\na 1.png;daisy;val\n../../etc.png;rose;val\n",
        encoding="utf-8",
    )
    table = ["--data.annotations", "table.csv", "--data.roots", "[d/photos]"]
    columns = ["--data.columns", "{image: file, label: species, split: fold}"]
    check("imagenet", "--data.root", "d", *table, *columns, code=1)
    found = listed("check_imagenet.csv")
    assert found["gone.png"] == ("missing", "named in table.csv, line 6, but not found")
    assert found["a 1.png"] == (
        "twice",
        "named in table.csv, line 7 and in table.csv, line 2, with class rose there and daisy here",
    )
    assert found["photos/broken.png"][0] == "broken"
    assert found["photos/nobody.png"] == ("unused", "an image that the table does not name")
    assert found["tulip"] == ("missing", "a class of val without training images")
    assert "is outside of" in found["../../etc.png"][1]
    assert len(found) == 6
    assert "imagenet: 4 files decoded: 1 broken, 0 short, 3 missing, 1 twice, 1 unused" in capsys.readouterr().out


@pytest.mark.faults
def test_a_table_of_videos(root, tmp_path, capsys):
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.mp4"))
    rows = "".join(f"{name}|{name.split('/')[1]}|{name.split('/')[0]}\n" for name in names)
    Path("table.csv").write_text("clip|motion|set\n" + rows + "gone.mp4|spinning|train\n")
    options = ["--data.annotations", "table.csv", "--data.columns", "{path: clip, label: motion, split: set}"]
    check("kinetics", "--data.root", root, *options, code=1)
    assert listed("check_kinetics.csv") == {"gone.mp4": ("missing", "annotated in train, but not found")}
    assert f"kinetics: {len(names)} files decoded" in capsys.readouterr().out


@pytest.mark.faults
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["imagenet", "--data.columns", "{image: file}"], "how to read --data.annotations FILE: pass that file too"),
        (["photos", "--data.annotations", "a.csv"], "is for imagenet and kinetics"),
    ],
)
def test_tables_where_there_are_none(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    check(*options, "--data.root", ".", code=1)
    assert message in capsys.readouterr().err


@pytest.mark.faults
@pytest.mark.parametrize("splits", [("training/", "validation/"), ("",)])
def test_class_folders_as_training_reads_them(tmp_path, monkeypatch, capsys, splits):
    monkeypatch.chdir(tmp_path)
    for split in splits:
        for name in ("daisy", "red rose"):
            path = tmp_path / "d" / split / name / "1.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(path)
    (tmp_path / "d" / splits[0] / "daisy" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    check("imagenet", "--data.root", "d", code=1)
    assert {path: problem for path, (problem, _) in listed("check_imagenet.csv").items()} == {
        f"{splits[0]}daisy/broken.png": "broken"
    }
    assert f"imagenet: {2 * len(splits) + 1} files decoded: 1 broken" in capsys.readouterr().out

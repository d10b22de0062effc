"""Kinetics: every layout, every video once, the same clips again, and what happens to broken videos."""

import os
import tracemalloc
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer

from pcpad import _renamed
from pcpad.commands.recipes import packaged_recipes
from pcpad.datamodules import KineticsDataModule
from pcpad.datamodules.datasets import video_table as table_module
from pcpad.datamodules.datasets.clip_datasets import WholeVideoSampler, Windows
from pcpad.datamodules.datasets.clips import Sampling, center_view
from pcpad.datamodules.datasets.epochs import Crop
from pcpad.datamodules.datasets.video_table import BrokenVideo, note_broken
from pcpad.datamodules.reading import caches as caches_module
from pcpad.datamodules.reading.video_files import BrokenVideoError
from pcpad.datamodules.reading.videos import View

CLASSES = ['air drumming, "loud"', "it's"]
LENGTHS = {"train": (40, 7), "val": (33, 16, 5)}


@pytest.fixture(scope="module")
def written(videos, tmp_path_factory):
    """Ten videos of two classes with trying names; frame numbers painted in."""
    root = tmp_path_factory.mktemp("kinetics")
    for split, lengths in LENGTHS.items():
        for name in CLASSES:
            for number, frames in enumerate(lengths):
                videos.write(root / split / name / f"abcdefghi-{number}_{number:06}_{number + 2:06}.mp4", frames)
    return root


@pytest.fixture
def root(written, tmp_path):
    """The same files, free to be damaged."""
    folder = tmp_path / "data"
    for path in written.rglob("*.mp4"):
        copy = folder / path.relative_to(written)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def module(root, stage="fit", **options):
    data = KineticsDataModule(root, **{"batch_size": 3, "num_workers": 0, "size": 48, **options})
    data.setup(stage)
    return data


def damage(path):
    """Overwrite the pictures, so that neither size nor time tells."""
    state, content = path.stat(), path.read_bytes()
    start = content.index(b"mdat") + 4
    path.write_bytes(content[:start] + b"\xff" * (len(content) - start))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


# Batches


def test_the_contract_of_batches(written):
    data = module(written, predict_videos=written / "val")
    assert (data.class_names, data.num_classes) == (CLASSES, 2)
    (batch,) = data.train_dataloader()
    assert batch["clip"].shape == (3, 3, 16, 48, 48)
    assert batch["clip"].dtype == torch.uint8
    assert batch["label"].dtype == batch["video"].dtype == torch.int64
    assert torch.equal(batch["label"], batch["video"] // 2)
    val = list(data.val_dataloader())
    assert torch.cat([batch["video"] for batch in val]).tolist() == list(range(6))
    assert torch.cat([batch["label"] for batch in val]).tolist() == [0, 0, 0, 1, 1, 1]


def test_testing_sees_every_window_of_every_video(written, videos):
    data = module(written, "test")
    batches = list(data.test_dataloader())
    assert [len(batch["video"]) for batch in batches] == [3, 3, 3, 1]
    owners = torch.cat([batch["video"] for batch in batches]).tolist()
    assert owners == [0, 0, 0, 1, 2, 3, 3, 3, 4, 5]
    clips = torch.cat([batch["clip"] for batch in batches]).permute(0, 2, 3, 4, 1).numpy()
    wide = videos.picture(0).shape
    seen = {video: [] for video in owners}
    view = center_view(*wide[:2], 48)
    assert view == View(48, 64, 0, 8, 48, 48)
    for video, clip in zip(owners, clips, strict=True):
        whole = np.pad(clip, ((0, 0), (0, 0), (8, 8), (0, 0)), mode="edge")  # what the center crop cut off
        seen[video] += [videos.number(picture) for picture in whole]
    # 33 frames: two full windows, and one of the last frame, looped.
    assert seen[0] == [*range(32), *[32] * 16]
    assert seen[1] == list(range(16))
    assert seen[2] == [*range(5)] * 3 + [0]


def test_predicting_says_which_seconds_of_which_file(written):
    data = module(written, "predict", predict_videos=written / "val" / "it's")
    batches = list(data.predict_dataloader())
    paths = [path for batch in batches for path in batch["path"]]
    assert [Path(path).name for path in paths][:4] == ["abcdefghi-0_000000_000002.mp4"] * 3 + [
        "abcdefghi-1_000001_000003.mp4"
    ]
    start, end = ([time for batch in batches for time in batch[key]] for key in ("start", "end"))
    assert start[:4] == pytest.approx([0, 0.64, 1.28, 0])
    assert end[:4] == pytest.approx([0.64, 1.28, 1.32, 0.64], abs=1e-3)
    assert "label" not in batches[0]
    assert not list((written / "val" / "it's").glob("*.npz")), "nothing is left among a user's own videos"
    one = module(written, "predict", predict_videos=paths[0])
    assert sum(len(batch["path"]) for batch in one.predict_dataloader()) == 3
    with pytest.raises(FileNotFoundError, match="no such folder or video"):
        module(written, "predict", predict_videos=written / "absent")
    with pytest.raises(ValueError, match=r"--data\.predict_videos FOLDER"):
        module(written, "predict")


@pytest.mark.faults
def test_validation_takes_several_clips_of_a_video(written, videos):
    data = module(written, "validate", val_clips=3)
    batches = list(data.val_dataloader())
    assert [len(batch["video"]) for batch in batches] == [3, 3, 3, 1]
    owners = torch.cat([batch["video"] for batch in batches]).tolist()
    assert owners == [0, 0, 0, 1, 2, 3, 3, 3, 4, 5], "videos of 33, 16 and 5 frames"
    assert torch.cat([batch["label"] for batch in batches]).tolist() == [0] * 5 + [1] * 5
    first = torch.cat([batch["clip"] for batch in batches])[:3, :, 0].permute(0, 2, 3, 1).numpy()
    whole = np.pad(first, ((0, 0), (0, 0), (8, 8), (0, 0)), mode="edge")  # what the center crop cut off
    assert [videos.number(picture) for picture in whole] == [0, 8, 16]
    with pytest.raises(ValueError, match="`val_clip` to be omitted if `val_clips` is above 1, but got start"):
        KineticsDataModule(written, val_clips=3, val_clip="start")


@pytest.mark.faults
@pytest.mark.parametrize("name", ["act_r3d50.yaml", "act_r3d50_2020.yaml"])
def test_full_recipes_validate_as_the_public_code_does(name):
    options = yaml.safe_load(packaged_recipes()[name].read_text())["data"]["init_args"]
    assert options["val_clips"] == 3


@pytest.mark.parametrize("stage", ["test", "predict"])
def test_a_long_video_takes_no_more_memory(stage, videos, tmp_path):
    peaks = {}
    for frames in (96, 960):
        root = tmp_path / str(frames)
        videos.write(root / "val" / "a" / "long.mp4", frames)
        data = module(root, stage, clip_length=8, batch_size=2, predict_videos=root)
        tracemalloc.start()
        windows = sum(len(batch["clip"]) for batch in getattr(data, f"{stage}_dataloader")())
        peaks[frames] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert windows == frames // 8
    a_frame = 48 * 64 * 3
    # Two windows of a batch, the frames of the next one, and what is being worked on; not 960.
    assert 16 * a_frame < peaks[960] < 64 * a_frame
    assert peaks[960] < 1.2 * peaks[96] + 30_000, "times and positions, some bytes a frame"


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_every_video_is_whole_on_one_process(written, replicas):
    windows = Windows(module(written, "test")._split("test"), Sampling(), 48)
    shares = [list(WholeVideoSampler(windows, replicas, rank)) for rank in range(replicas)]
    assert sorted(window for share in shares for window in share) == list(range(10))
    owners = [{int(np.searchsorted(windows.ends, window, side="right")) for window in share} for share in shares]
    assert sum(map(len, owners)) == 6, "no video on two processes"
    assert [len(WholeVideoSampler(windows, replicas, rank)) for rank in range(replicas)] == list(map(len, shares))
    with pytest.raises(ValueError, match="6 videos cannot be distributed over 7 processes"):
        WholeVideoSampler(windows, 7, 0)


def test_lightning_leaves_the_sampler_in_place(written):
    class Counter(LightningModule):
        videos = ()

        def test_step(self, batch, number):
            self.videos += tuple(batch["video"].tolist())

    counter = Counter()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Trainer(accelerator="cpu", **quiet).test(counter, module(written, "test"))
    assert counter.videos == (0, 0, 0, 1, 2, 3, 3, 3, 4, 5)


# Clips


def test_an_epoch_depends_on_seed_and_number_alone(written):
    def epochs(count, workers=0, resume=None):
        loader = module(written, num_workers=workers, batch_size=2).train_dataloader()
        if resume:
            loader.load_state_dict(resume)
        out = [[(batch["clip"], batch["video"]) for batch in loader] for _ in range(count)]
        return [batch for epoch in out for batch in epoch], loader

    first, _ = epochs(2)
    again, _ = epochs(2, workers=1)
    assert len(first) == len(again) == 4
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], first[2][0])
    resumed, _ = epochs(1, resume={"epoch": 1, "seen": 2})
    assert len(resumed) == 1
    assert torch.equal(resumed[0][0], first[3][0])


def test_crop_and_flip_are_the_same_for_all_frames(videos, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    options = {"crf": "0", "g": "1"}
    for split in ("train", "val"):
        still = {"options": options, "pixels": "yuv444p", "paint": lambda *_: noise}
        videos.write(tmp_path / split / "a" / "still.mp4", 20, **still)
    for crop in ("multi_scale_corner", "random_resized"):
        clips = module(tmp_path, crop=crop).train_dataloader().dataset
        pictures = [clips[Crop(0, None, seed)]["clip"] for seed in range(12)]
        assert all((clip == clip[:, :1]).all() for clip in pictures)
        assert len({clip[:, 0].numpy().tobytes() for clip in pictures}) > 8


def test_starts_are_spread_over_the_video(written, videos):
    clips = module(written, clip_length=4).train_dataloader().dataset
    latest = clips.sampling.latest_start(np.arange(40))
    assert latest == 36
    starts = set()
    read = table_module.Video.read
    table_module.Video.read = lambda self, positions, *args, **more: (
        starts.add((int(positions[0]), tuple(np.diff(positions)))) or read(self, positions, *args, **more)
    )
    try:
        for seed in range(60):
            clips[Crop(0, None, seed)]
    finally:
        table_module.Video.read = read
    first = [start for start, steps in starts]
    assert {steps for _, steps in starts} == {(1, 1, 1)}
    assert min(first) <= 3
    assert 33 <= max(first) <= 36


# Layouts


def test_csv_annotations(root):
    rows = {"train": [], "val": []}
    for split, lengths in LENGTHS.items():
        for label in CLASSES:
            quoted = label.replace('"', '""')
            rows[split] += [f'"{quoted}",abcdefghi-{n},{n},{n + 2},{split}' for n in range(len(lengths))]
    rows["train"] += ['"it\'s",gonegonegon,5,15,train']
    (root / "it's").mkdir()
    # A folder name with underscores, and files without folders, as they come.
    (root / "train" / CLASSES[0]).rename(root / "train" / CLASSES[0].replace(" ", "_"))
    for path in (root / "val" / "it's").iterdir():
        path.rename(root / "val" / path.name) if "i-0" in path.name else None
    header = "label,youtube_id,time_start,time_end,split\n"
    (root / "all.csv").write_text(header + "\n".join(rows["train"] + rows["val"]) + "\n")
    with pytest.warns(
        UserWarning,
        match=r"(?s)train: of 5 videos, 1 are missing and 0 broken; .* gonegonegon".replace(" gone", r".*gone"),
    ):
        data = module(root, annotations="all.csv")
    assert data.class_names == sorted(CLASSES)
    assert len(data._split("train")) == 4
    assert data._split("val").labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert str(data._split("val").paths[3]).endswith("val/abcdefghi-0_000000_000002.mp4")
    with pytest.raises(ValueError, match="1 of the 5 annotated videos of train are missing"):
        module(root, annotations="all.csv", max_missing=0.1)
    (root / "bad.csv").write_text("label,youtube_id,split\n")
    with pytest.raises(ValueError, match="line 1 lacks time_start, time_end"):
        module(root, annotations="bad.csv")
    (root / "bad.csv").write_text(header + "a,b,soon,later,train\n")
    with pytest.raises(ValueError, match=r"bad\.csv, line 2: expected time_start and time_end in seconds"):
        module(root, annotations="bad.csv")
    (root / "bad.csv").write_text("split,youtube_id,time_start,time_end,label\ntrain,a,0,10\n")
    with pytest.raises(ValueError, match=r"bad\.csv, line 2: expected a label and a youtube_id"):
        module(root, annotations="bad.csv")
    (root / "bad.csv").write_bytes(header.encode() + b"caf\xe9,b,0,10,train\n")
    with pytest.raises(ValueError, match=r"bad\.csv: annotations must be UTF-8 text"):
        module(root, annotations="bad.csv")


def test_lists_with_spaces_and_numbers(root):
    for split, lengths in LENGTHS.items():
        lines = [f"{split}/{label}/abcdefghi-{n}_{n:06}_{n + 2:06}.mp4 {place}"
                 for place, label in enumerate(CLASSES) for n in range(len(lengths))]  # fmt: skip
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n\n")
    data = module(root, annotations=str(root / "{split}.txt"))
    assert data.class_names == CLASSES
    assert data._split("val").labels.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "row", ["../secret.mp4 0", "val/../../secret.mp4 0", "/etc/passwd 0", "C/../../../x 0", r"..\secret.mp4 0"]
)
def test_a_row_that_points_outside_is_refused(row, root):
    (root.parent / "secret.mp4").touch()
    (root / "train.txt").write_text(row + "\n")
    with pytest.raises(ValueError, match=r"train\.txt, line 1: .* is outside of"):
        module(root, annotations="{split}.txt")


@pytest.mark.parametrize("row", ["x,../../../../etc/abc", "../../x,abc", "/../../../x,abc"])
def test_a_csv_row_that_points_outside_is_refused(row, root):
    header = "label,youtube_id,time_start,time_end,split\n"
    (root / "a.csv").write_text(header + f"{row},0,10,train\n")
    with pytest.raises(ValueError, match=r"a\.csv, line 2: .* is outside of"):
        module(root, annotations="a.csv")


def test_missing_annotation_file_and_data(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such annotation file: .*absent\.csv(.|\n)*pcpad sample kinetics"):
        module(root, annotations="absent.csv")
    with pytest.raises(FileNotFoundError, match=r"No such folder: .*nothing/train(.|\n)*pcpad sample kinetics"):
        module(tmp_path / "nothing")


def test_folders_of_jpeg_frames(videos, tmp_path):
    for split in ("train", "val"):
        folder = tmp_path / split / "a b" / "a video"
        folder.mkdir(parents=True)
        for number in range(20):
            picture = np.kron(videos.picture(number), np.ones((4, 4, 1), np.uint8))
            cv2.imwrite(str(folder / f"image_{number + 1:05d}.jpg"), picture[:, :, ::-1])
    data = module(tmp_path, "test", jpeg_fps=10, size=48)
    index = data._split("test").index(0)
    assert (index.height, index.width, index.times[-1]) == (192, 256, 2.0)
    with data._split("test").open(0, index) as opened:
        assert [videos.number(picture) for picture in opened.read([19, 3, 3])] == [19, 3, 3]
    with data._split("test").open(0, index, least=48) as opened:
        assert opened._reduced == 2
        assert videos.number(opened.read([11], View(48, 64, 0, 0, 48, 64))[0]) == 11
    assert next(iter(data.test_dataloader()))["clip"].shape == (2, 3, 16, 48, 48)
    (tmp_path / "val" / "a b" / "a video" / "image_00007.jpg").unlink()
    with pytest.raises(BrokenVideoError, match=r"image_00007\.jpg is missing; 19 frames are there"):
        module(tmp_path, "test")


# Broken videos


def test_broken_training_videos_are_counted_against_the_budget(root):
    first = next((root / "train" / CLASSES[0]).iterdir())
    first.write_bytes(b"")
    with pytest.warns(
        UserWarning, match=r"(?s)of 4 videos, 0 are missing and 1 broken; training continues .*the file is empty"
    ):
        data = module(root, max_broken=1)
    assert len(data._split("train")) == 3
    with pytest.raises(BrokenVideoError, match=r"1 videos of train .* more than data\.max_broken=0 allows"):
        module(root, max_broken=0)


def test_a_training_video_that_fails_later_is_replaced(root):
    data = module(root, max_broken=1)
    clips = data.train_dataloader().dataset
    damage(next(path for path in (root / "train" / CLASSES[0]).iterdir() if "i-0" in path.name))
    with pytest.warns(UserWarning, match=r"that cannot be decoded is replaced by another \(1 of at most 1"):
        item = clips[Crop(0, None, 5)]
    assert item["video"] != 0
    assert item["label"] == item["video"] // 2
    assert torch.equal(item["clip"], clips[Crop(0, None, 5)]["clip"]), "the same replacement each time"
    damage(next(path for path in (root / "train" / CLASSES[1]).iterdir() if "i-0" in path.name))
    with pytest.raises(BrokenVideoError, match=r"2 training videos .* data\.max_broken allows 1"):
        clips[Crop(2, None, 5)]


def test_evaluations_never_substitute(root):
    broken = root / "val" / CLASSES[0] / "abcdefghi-1_000001_000003.mp4"
    data = module(root, "test")
    damage(broken)
    for loader in (data.test_dataloader(), module(root, "validate").val_dataloader()):
        with pytest.raises(
            BrokenVideoError, match=r"(?s)i-1_.*does not replace a video by another.*pcpad check kinetics"
        ):
            list(loader)
    broken.write_bytes(b"")
    with pytest.warns(
        UserWarning, match="of 6 videos, 0 are missing and 1 broken; scores are computed on the 5 others"
    ):
        data = module(root, "test")
    assert {int(v) for batch in data.test_dataloader() for v in batch["video"]} == set(range(5))


def test_predicting_does_what_can_be_done(root, videos, tmp_path):
    folder = tmp_path / "mine"
    whole = videos.write(folder / "b.mp4", 20)
    part = videos.write(folder / "a.mp4", 40, options={"g": "8"}, paint=_noise)
    alone = videos.write(folder / "c.mp4", 20)
    start = part.read_bytes().index(b"mdat") + 4
    (folder / "d.mp4").touch()
    with pytest.warns(UserWarning, match="1 of 4 videos are broken and skipped"):
        data = module(root, "predict", predict_videos=folder, clip_length=8, batch_size=2)
    content = bytearray(part.read_bytes())
    middle = start + (len(content) - start) // 2
    content[middle : middle + 3000] = bytes(3000)  # of the third group of pictures
    part.write_bytes(content)
    damage(alone)
    batches = list(data.predict_dataloader())
    seen = [
        (Path(path).name, round(start, 2))
        for batch in batches
        for path, start in zip(batch["path"], batch["start"], strict=True)
    ]
    assert ("a.mp4", 0.0) in seen
    assert ("a.mp4", 0.64) not in seen
    assert ("a.mp4", 1.28) in seen, "the windows after the damage"
    assert [start for name, start in seen if name == whole.name] == [0, 0.32, 0.64]
    assert "c.mp4" not in dict(seen)
    assert all("failures" not in batch for batch in batches)
    with pytest.raises(
        BrokenVideoError,
        match=r"could not be read; all others are done:(.|\n)*a\.mp4(.|\n)*c\.mp4(.|\n)*d\.mp4: the file is empty",
    ):
        data.teardown("predict")
    data.teardown("predict")  # said once


def _noise(number, height, width):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("verb", ["test", "predict", "validate"])
def test_a_verb_needs_its_own_split_alone(verb, root, monkeypatch):
    """Lightning's `prepare_data` comes first; it must not ask for videos to train on where none are trained on."""
    for path in (root / "train").rglob("*.mp4"):
        path.write_bytes(b"")
    data = KineticsDataModule(
        root if verb != "predict" else root / "absent", num_workers=0, size=48, predict_videos=root / "val"
    )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}

    class Nothing(LightningModule):
        def test_step(self, batch, number):
            assert len(batch["clip"])

        validation_step = predict_step = test_step

    getattr(Trainer(**quiet), verb)(Nothing(), datamodule=data)
    assert set(data._splits) == {"validate": {"val"}, "test": {"test"}, "predict": {"predict"}}[verb]


# The index


def test_the_index_is_kept_and_follows_changes(root, videos, monkeypatch):
    looked = []
    index = table_module.index_video
    monkeypatch.setattr(table_module, "index_video", lambda path: looked.append(path.name) or index(path))
    module(root)
    assert len(looked) == 10
    module(root)
    assert len(looked) == 10
    assert (root / "pcpad_videos.npz").is_file()
    videos.write(root / "val" / "it's" / "abcdefghi-2_000002_000004.mp4", 9)
    data = module(root)
    assert looked[10:] == ["abcdefghi-2_000002_000004.mp4"]
    assert len(data._split("val").index(5).pts) == 9
    (root / "pcpad_videos.npz").write_bytes(b"PK\3\4 no archive")
    module(root)
    assert len(looked) == 21


def test_read_only_data_with_an_older_index(root, cache, monkeypatch):
    module(root, "validate")
    content = (root / "pcpad_videos.npz").read_bytes()
    write = caches_module._write

    def refuse_root(path, arrays):
        if path.parent == root:
            raise PermissionError(13, "Permission denied")
        write(path, arrays)

    monkeypatch.setattr(caches_module, "_write", refuse_root)
    moved = next((root / "val" / "it's").iterdir())
    os.utime(moved, ns=(0, moved.stat().st_mtime_ns + 10**9))
    looked = []
    index = table_module.index_video
    monkeypatch.setattr(table_module, "index_video", lambda path: looked.append(path.name) or index(path))
    module(root)
    assert len(looked) == 5, "those to train on, and the one that changed"
    for stage in ("test", "fit"):
        module(root, stage)
    assert len(looked) == 5
    assert (root / "pcpad_videos.npz").read_bytes() == content
    note_broken(root, [BrokenVideo(f"val/it's/{moved.name}", "does not decode")])
    with pytest.warns(UserWarning, match="does not decode"):
        assert len(module(root, "test")._split("test")) == 5


def test_what_may_pass_is_not_kept(root, monkeypatch):
    path = next((root / "train" / "it's").iterdir())
    index = table_module.index_video

    def refuse(given):
        if given == path:
            try:
                raise PermissionError(13, "Permission denied")
            except OSError as error:
                message = f"{given}: Permission denied"
                raise BrokenVideoError(message) from error
        return index(given)

    monkeypatch.setattr(table_module, "index_video", refuse)
    with pytest.warns(UserWarning, match=r"of 4 videos, 0 are missing and 1 broken(.|\n)*: Permission denied"):
        module(root)
    monkeypatch.setattr(table_module, "index_video", index)
    assert len(module(root)._split("train")) == 4


def test_read_only_data_is_indexed_in_the_users_cache(root, cache, monkeypatch):
    write = caches_module._write

    def refuse_root(path, arrays):
        if path.parent == root:
            raise PermissionError(13, "Permission denied")
        write(path, arrays)

    monkeypatch.setattr(caches_module, "_write", refuse_root)
    module(root)
    assert [path.name[16:] for path in (cache / "pcpad").iterdir()] == ["_pcpad_videos.npz"]
    monkeypatch.setattr(table_module, "index_video", None)
    assert len(module(root)._split("train")) == 4


# Arguments


@pytest.mark.parametrize(
    ("argument", "value"),
    [("batch_size", 0), ("clip_length", 0), ("stride", 0), ("size", 0), ("num_workers", -1), ("fps", 0.0),
     ("val_clips", 0), ("crop", "center"), ("flip", 1.5), ("val_clip", "middle"), ("max_broken", -1),
     ("max_missing", 2.0), ("jpeg_fps", 0.0), ("effective_batch", 0)],
)  # fmt: skip
def test_arguments_out_of_range(argument, value):
    with pytest.raises(ValueError, match=f"Expected argument `{argument}` to be .* got {value}"):
        KineticsDataModule("x", **{argument: value})


def test_the_old_spelling_of_the_center_still_counts(monkeypatch):
    monkeypatch.setattr(_renamed, "_warned", set())
    with pytest.warns(FutureWarning, match='val_clip="centre" is called val_clip="center" now') as caught:
        assert KineticsDataModule("x", val_clip="centre").val_clip == KineticsDataModule("x").val_clip == "center"
    assert caught[0].filename == __file__


def test_loaders_before_setup(tmp_path):
    with pytest.raises(RuntimeError, match=r"the videos of train .*call setup\('fit'\)"):
        KineticsDataModule(tmp_path).train_dataloader()


@pytest.mark.faults
def test_what_lies_beside_the_videos_to_predict_is_named_in_the_end(root, tmp_path, videos):
    folder = tmp_path / "films"
    first, second, third, *_ = sorted((root / "train").rglob("*.mp4"))
    folder.mkdir()
    first.rename(folder / "a.MTS")  # content decides
    second.rename(folder / "b")
    (folder / "b.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "b.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    for number in (1, 2):
        (folder / "frames").mkdir(exist_ok=True)
        (folder / "frames" / f"img_{number}.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "c.zip").write_bytes(b"PK\3\4")
    (folder / "d.mkv").write_bytes(third.read_bytes()[:200])
    data = module(root, "predict", predict_videos=folder)
    names = {Path(path).name for batch in data.predict_dataloader() for path in batch["path"]}
    assert names == {"a.MTS", "b"}
    expected = r"3 videos(.|\n)*c\.zip: a ZIP archive(.|\n)*d\.mkv: (.|\n)*img_1\.jpg: one of 2 pictures, not frames"
    with pytest.raises(BrokenVideoError, match=expected):
        data.teardown("predict")


@pytest.mark.faults
def test_what_training_leaves_out_is_said(root):
    path = next((root / "train" / "it's").iterdir())
    path.rename(root / "train" / "outside.mp4")
    (root / "train" / "it's" / "more.tar.gz").write_bytes(b"\x1f\x8b")
    expected = (
        r"(?s)2 files below .* are not videos of a class .*more\.tar\.gz: a gzip archive\n  train/outside\.mp4: a video"
    )
    with pytest.warns(UserWarning, match=expected):
        module(root)


@pytest.mark.faults
@pytest.mark.parametrize("ending", [".mkv", ".webm"])
def test_half_a_video_is_noticed_by_training_and_prediction(root, ending, videos, tmp_path):
    path = next((root / "train" / "it's").iterdir()).with_suffix(ending)
    videos.write(path, 40, codec="libvpx")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match=rf"(?s)of 5 videos, .* 1 broken; .*{ending}: truncated: {len(data) // 2} of"):
        module(root)
    films = path.parent
    with pytest.warns(UserWarning, match=rf"(?s)1 of 3 videos are broken and skipped.*{ending}: truncated"):
        found = module(root, "predict", predict_videos=films)
    list(found.predict_dataloader())
    with pytest.raises(BrokenVideoError, match=rf"{ending}: truncated"):
        found.teardown("predict")

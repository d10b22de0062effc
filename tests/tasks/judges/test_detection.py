"""detAP: the boxes of the maps, the detector and its classes, the numbers against slow independent ones."""

import contextlib
import io
import multiprocessing

import numpy as np
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader
from torchvision.models import get_model_weights
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from pcpad.datamodules.base import evaluation_sampler
from pcpad.models.street_detector import OBJECTS, StreetDetector, load_detector
from pcpad.tasks import SynthesisTask
from pcpad.tasks.judges.detection import DetectionJudge, street_objects

pytest.importorskip("faster_coco_eval")
COCO = {1: 24, 2: 33, 3: 26, 4: 32, 6: 28, 7: 31, 8: 27}


# Truth


def test_boxes_are_those_of_a_loop_over_pixels():
    draw = np.random.default_rng(0)
    ids = np.array([7, 23, 24, 26, 24001, 25003, 26001, 26002, 29, 30001, 33010])
    instance = torch.from_numpy(draw.choice(ids, (2, 1, 9, 13)))
    label = torch.where(instance >= 1000, instance // 1000, instance)
    label[0, 0, 0, 0] = 34  # a license plate: the instance map has the car there
    found = street_objects(label, instance)
    assert len(found) == 2
    for image, objects in zip(instance[:, 0], found, strict=True):
        wanted = []
        for number in sorted({int(value) for value in image.flatten()}):
            kind = number // 1000 if number >= 1000 else number
            if kind not in OBJECTS:
                continue
            places = [(y, x) for y in range(9) for x in range(13) if image[y, x] == number]
            ys, xs = zip(*places, strict=True)
            box = [min(xs), min(ys), max(xs) + 1, max(ys) + 1]
            wanted.append((box, kind, int(number < 1000), len(places)))
        assert objects["boxes"].tolist() == [one[0] for one in wanted]
        assert objects["labels"].tolist() == [one[1] for one in wanted]
        assert objects["iscrowd"].tolist() == [one[2] for one in wanted]
        assert objects["area"].tolist() == [one[3] for one in wanted]
        assert {24, 25, 26, 33} >= set(objects["labels"].tolist()) >= {26}


def test_maps_without_objects_and_with_other_ids():
    road = torch.full((1, 1, 4, 4), 7)
    (none,) = street_objects(road, road)
    assert none["boxes"].shape == (0, 4)
    assert none["labels"].numel() == none["area"].numel() == 0
    cars = torch.full((1, 1, 4, 4), 26)
    cars[..., 0] = 7
    with pytest.raises(ValueError, match=r"Instance 3 at row 0, column 1 of sample 0 has label 26: .* 1000 times"):
        street_objects(cars, torch.where(cars == 26, 3, 0))
    with pytest.raises(ValueError, match=r"Instance 25 .* has label 7"):
        street_objects(road, torch.full_like(road, 25))
    stray = torch.where(cars == 26, 26001, 7)
    stray[0, 0, 1, 1] = 24001  # a single pixel stops nothing
    assert street_objects(cars, stray)[0]["labels"].tolist() == [24, 26]


# The detector


def detector_state(classes):
    torch.manual_seed(0)
    network = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=classes)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # Small enough for batch norm's ε to be seen.
            torch.nn.init.uniform_(module.running_var, 1e-5, 3e-5)
            torch.nn.init.uniform_(module.weight, 0.0005, 0.002)
    return network.state_dict()


@pytest.fixture(scope="module")
def coco_state():
    """Weights as torchvision publishes them: without batch norm's counters."""
    return {name: value for name, value in detector_state(91).items() if not name.endswith("num_batches_tracked")}


def test_published_weights_run_as_torchvision_runs_them(coco_state, tmp_path, monkeypatch):
    sets = get_model_weights("fasterrcnn_resnet50_fpn")
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: coco_state)
    theirs = fasterrcnn_resnet50_fpn(weights=sets.COCO_V1).eval()
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"fasterrcnn_resnet50_fpn_coco-258fb6c6\.pth is missing from .*Download htt"
    ):
        load_detector()
    (tmp_path / "checkpoints").mkdir()
    torch.save(coco_state, tmp_path / "checkpoints" / "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth")
    ours = load_detector()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted, found = theirs.backbone(image), ours.network.backbone(image)
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert float(wanted["0"].std()) > 0
    assert ours.labels == set(COCO.values())
    assert ours.name == "faster_rcnn_coco"
    assert not ours.network.training
    assert not any(one.requires_grad for one in ours.parameters())
    assert str(ours.network.transform) == str(theirs.transform)


@pytest.mark.slow
def test_an_own_detector_of_cityscapes_classes(tmp_path):
    state = detector_state(9)
    torch.save(
        {"state_dict": {f"model.{name}": value for name, value in state.items()}, "epoch": 3}, tmp_path / "a.ckpt"
    )
    detector = load_detector(tmp_path / "a.ckpt")
    assert detector.name == "faster_rcnn_cityscapes"
    assert detector.labels == set(OBJECTS)
    network = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=9).eval()
    network.load_state_dict(state)
    with torch.no_grad():  # its statistics were trained, so ε is batch norm's
        image = torch.rand(1, 3, 64, 64)
        wanted, found = network.backbone(image)["0"], detector.network.backbone(image)["0"]
    torch.testing.assert_close(found, wanted)


def test_files_that_are_no_such_detector(coco_state, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No weight file at .*absent\.pth.* Expected the detector"):
        load_detector(tmp_path / "absent.pth")
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="is not a Faster R-CNN of torchvision: expected one `roi_heads"):
        load_detector(tmp_path / "other.pth")
    head = "roi_heads.box_predictor.cls_score.weight"
    torch.save({head: torch.zeros(21, 1024)}, tmp_path / "voc.pth")
    with pytest.raises(ValueError, match=r"has 21 classes: expected 91, COCO's, or 9, background and person, r"):
        load_detector(tmp_path / "voc.pth")
    torch.save({head: coco_state[head]}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match="missing from the file"):
        load_detector(tmp_path / "part.pth")


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("pcpad.tasks.judges.detection.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pcpad\[detection\]'"):
        DetectionJudge("x.pth")


class Reads(torch.nn.Module):
    """A detector that finds what is written in the images' first rows: class, score and box of each find."""

    def forward(self, images):
        assert all(image.dtype == torch.float32 for image in images)
        finds = []
        for image in images:
            rows = image[0][image[0, :, 0] > 0]
            size = torch.tensor([1, 1, 1, 1]) * max(image.shape[-2:])
            classes = (rows[:, 0] * 100).round().long()
            finds.append({"labels": classes, "scores": rows[:, 1], "boxes": rows[:, 2:6] * size})
        return finds


def written(finds, size=32):
    """An image that `Reads` finds these in: (class, score, box) each."""
    image = torch.zeros(3, size, size)
    for row, (number, score, box) in enumerate(finds):
        image[0, row, :6] = torch.tensor([number / 100, score, *(side / size for side in box)])
    return image


def test_classes_are_told_as_label_ids():
    finds = [(number, 0.9, (1, 2, 3, 4)) for number in range(1, 31)]
    (found,) = StreetDetector(Reads(), COCO, "x")(written(finds)[None])
    assert found["labels"].tolist() == [24, 33, 26, 32, 28, 31, 27]
    assert found["boxes"].shape == (7, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (same,) = StreetDetector(Reads(), COCO, "x")(written(finds)[None].to(torch.bfloat16))
    assert same["labels"].tolist() == found["labels"].tolist()


# The scores


def judge(monkeypatch, labels=None):
    detector = StreetDetector(Reads(), labels or {label: label for label in OBJECTS}, "reads")
    monkeypatch.setattr("pcpad.tasks.judges.detection.load_detector", lambda weights: detector)
    return DetectionJudge("some.pth")


def street(draw):
    """Maps with single objects and a group, and finds: some right, some shifted, some for nothing."""
    instance = torch.full((1, 32, 32), 7)
    for number, label in enumerate((26, 26, 24, 25, 33)):
        top, left = draw.integers(0, 22, 2)
        high, wide = draw.integers(4, 10, 2)
        instance[0, top : top + high, left : left + wide] = 1000 * label + number
    instance[0, 20:32, 20:32] = 26
    label = torch.where(instance >= 1000, instance // 1000, instance)
    (objects,) = street_objects(label[None], instance[None])
    finds = []
    for kind, box in zip(objects["labels"].tolist(), objects["boxes"].tolist(), strict=True):
        for shift in draw.integers(-2, 3, draw.integers(0, 3)):
            finds.append((kind, float(draw.uniform(0.1, 1)), tuple(side + 0.5 * float(shift) for side in box)))
    for kind in (24, 26):
        finds.append((kind, float(draw.uniform(0.1, 1)), (20.0, 22.0, 25.0, 27.0)))  # a part of the group
    image = torch.stack([written(finds), written(finds[::2])])
    return {"label": label, "instance": instance, "fake": image[0], "real": image[1]}


def batches(count):
    draw = np.random.default_rng(1)
    return list(DataLoader([street(draw) for _ in range(count)], batch_size=2))


def overlap(box, other, crowd):
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    own, theirs = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return width * height / (own if crowd else own + theirs - width * height)


def average_precision(pairs, label, threshold):
    """One class's AP as COCO defines it, by loops; None where there is no such object."""
    marks, wanted = [], 0
    for objects, found in pairs:
        truth = [
            (box, bool(crowd))
            for box, kind, crowd in zip(
                *(objects[name].tolist() for name in ("boxes", "labels", "iscrowd")), strict=True
            )
            if kind == label
        ]
        wanted += sum(not crowd for _, crowd in truth)
        taken = set()
        rows = zip(*(found[name].tolist() for name in ("scores", "boxes", "labels")), strict=True)
        for score, box in sorted(((s, b) for s, b, kind in rows if kind == label), key=lambda one: -one[0]):
            single = [(overlap(box, t, False), i) for i, (t, crowd) in enumerate(truth) if not crowd and i not in taken]
            best, index = max(single, default=(0.0, None))
            if best >= threshold:
                taken.add(index)
                marks.append((score, True))
            elif not any(crowd and overlap(box, t, True) >= threshold for t, crowd in truth):
                marks.append((score, False))
    if not wanted:
        return None
    marks.sort(key=lambda one: -one[0])
    hits = np.cumsum([hit for _, hit in marks]) if marks else np.array([])
    recall, precision = hits / wanted, hits / np.arange(1, len(marks) + 1)
    at = [precision[recall >= level].max(initial=0.0) for level in np.linspace(0, 1, 101)]
    return float(np.mean(at))


def detected(batches, kind, labels):
    detector = StreetDetector(Reads(), {label: label for label in labels}, "x")
    for batch in batches:
        yield from zip(street_objects(batch["label"], batch["instance"]), detector(batch[kind]), strict=True)


def independent(pairs, labels):
    thresholds = [0.5 + 0.05 * step for step in range(10)]
    by_class = [[average_precision(pairs, label, at) for at in thresholds] for label in labels]
    by_class = [row for row in by_class if row[0] is not None]
    return float(np.mean(by_class)), float(np.mean([row[0] for row in by_class]))


@pytest.mark.parametrize("labels", [tuple(OBJECTS), tuple(COCO.values())])
def test_scores_are_those_of_loops(labels, monkeypatch):
    shown, seen = batches(7), judge(monkeypatch, {label: label for label in labels})
    for batch in shown:
        seen.update(batch["fake"], batch["real"], batch["label"], batch["instance"])
    scores = seen.compute()
    assert list(scores) == [f"reads_32x32/{name}" for name in ("detAP", "detAP50", "real_detAP", "real_detAP50")]
    fake, real = (independent(list(detected(shown, kind, labels)), labels) for kind in ("fake", "real"))
    assert [float(value) for value in scores.values()] == pytest.approx([*fake, *real], rel=1e-5)
    assert 0.05 < fake[0] < fake[1] < 0.95
    assert fake != real


def test_a_rider_is_none_of_coco_s_classes(monkeypatch):
    known, all_of_them = judge(monkeypatch, {one: one for one in COCO.values()}), judge(monkeypatch)
    instance = torch.full((1, 1, 32, 32), 7)
    instance[..., 2:12, 2:12], instance[..., 15:30, 15:30] = 25001, 26001
    label = torch.where(instance == 7, 7, instance // 1000)
    image = written([(26, 0.9, (15, 15, 30, 30))])[None]
    for one, wanted in ((known, 1.0), (all_of_them, 0.5)):
        one.update(image, image, label, instance)
        assert float(one.compute()["reads_32x32/detAP"]) == pytest.approx(wanted)


def test_a_crowd_forgives_and_need_not_be_found(monkeypatch):
    seen = judge(monkeypatch)
    instance = torch.full((1, 1, 32, 32), 7)
    instance[..., 2:12, 2:12], instance[..., 15:30, 15:30] = 26001, 26
    label = torch.where(instance == 26001, 26, instance)
    finds = [(26, 0.8, (2, 2, 12, 12)), (26, 0.9, (16, 16, 20, 20)), (26, 0.95, (20, 16, 24, 20))]
    as_person = written([*finds, (24, 0.9, (16, 16, 20, 20))])[None]
    seen.update(written(finds)[None], as_person, label, instance)
    scores = seen.compute()
    assert float(scores["reads_32x32/detAP"]) == pytest.approx(1.0)
    assert float(scores["reads_32x32/real_detAP"]) == pytest.approx(1.0)  # no person to find, so no such mean
    outside = written([*finds, (26, 0.99, (2, 20, 8, 26))])[None]
    seen.update(outside, outside, label, instance)
    assert float(seen.compute()["reads_32x32/detAP"]) == pytest.approx(0.5)


def test_nothing_found_nothing_there_and_a_new_start(monkeypatch):
    seen = judge(monkeypatch)
    road, car = torch.full((1, 1, 32, 32), 7), torch.full((1, 1, 32, 32), 7)
    car[..., 2:12, 2:12] = 26001
    blank, image = torch.zeros(1, 3, 32, 32), written([(26, 0.9, (2, 2, 12, 12))])[None]
    seen.update(blank, image, torch.where(car == 7, 7, 26), car)
    assert [float(value) for value in seen.compute().values()] == pytest.approx([0, 0, 1, 1])
    seen.update(image, image, road, road)  # the car before is forgotten
    assert all(bool(value.isnan()) for value in seen.compute().values())
    seen.update(image, image, road, road)
    with pytest.raises(ValueError, match=r"images for detAP to have one size, but got \(64, 64\) after \(32, 32\)"):
        seen.update(torch.zeros(1, 3, 64, 64), image, road, road)


def test_pycocotools_agrees(monkeypatch):
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    shown, seen = batches(6), judge(monkeypatch)
    annotations, results, images = [], [], []
    for batch in shown:
        seen.update(batch["fake"], batch["real"], batch["label"], batch["instance"])
        finds = seen.detector(batch["fake"])
        for objects, found in zip(street_objects(batch["label"], batch["instance"]), finds, strict=True):
            images.append({"id": len(images) + 1})
            for index in range(len(objects["labels"])):
                left, top, right, bottom = objects["boxes"][index].tolist()
                rest = {"image_id": len(images), "category_id": int(objects["labels"][index])}
                rest |= {"id": len(annotations) + 1, "iscrowd": int(objects["iscrowd"][index])}
                rest |= {"area": int(objects["area"][index])}
                annotations.append({"bbox": [left, top, right - left, bottom - top], **rest})
            for index in range(len(found["labels"])):
                left, top, right, bottom = found["boxes"][index].tolist()
                rest = {"image_id": len(images), "category_id": int(found["labels"][index])}
                rest |= {"score": float(found["scores"][index])}
                results.append({"bbox": [left, top, right - left, bottom - top], **rest})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {"images": images, "annotations": annotations, "categories": [{"id": one} for one in OBJECTS]}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    scores = seen.compute()
    found = [float(scores[f"reads_32x32/{name}"]) for name in ("detAP", "detAP50")]
    assert found == pytest.approx(evaluation.stats[:2].tolist(), rel=1e-5)


def of_one_process(rank, count, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    patch = pytest.MonkeyPatch()
    seen = judge(patch)
    patch.undo()
    items = [one for batch in batches(count) for one in zip(*batch.values(), strict=True)]
    for label, instance, fake, real in items[rank::2]:
        seen.update(fake[None], real[None], label[None], instance[None])
    torch.save(seen.compute(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_count_every_image_once(monkeypatch, tmp_path):
    seen = judge(monkeypatch)
    for batch in batches(5):  # unequally many for the two
        seen.update(batch["fake"], batch["real"], batch["label"], batch["instance"])
    alone = seen.compute()
    start = multiprocessing.get_context("fork").Process
    processes = [start(target=of_one_process, args=(rank, 5, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == alone


# The task


class Streets(LightningDataModule):
    """Images of a car and a group of people on a road, at 64×64."""

    def __init__(self, size=3):
        super().__init__()
        self.size = size

    def items(self):
        draw = torch.Generator().manual_seed(0)
        for number in range(self.size):
            instance = torch.full((1, 64, 64), 7)
            instance[:, 8 : 30 + number, 8:40], instance[:, 44:, 30:] = 26000 + number, 24
            label = torch.where(instance >= 1000, instance // 1000, instance)
            image = torch.randint(0, 256, (3, 64, 64), generator=draw, dtype=torch.uint8)
            yield {"image": image, "label": label, "instance": instance}

    def test_dataloader(self):
        items = list(self.items())
        return DataLoader(items, batch_size=2, sampler=evaluation_sampler(items, self.trainer))

    val_dataloader = test_dataloader


def outcome(folder, size=3, devices=1, strategy="auto", **options):
    torch.manual_seed(0)
    model = SynthesisTask(ngf=1, ndf=4, loss_weights={"vgg": 0}, **options)
    run = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
                  enable_progress_bar=False, default_root_dir=folder, devices=devices, strategy=strategy)  # fmt: skip
    (scores,) = run.test(model, Streets(size), verbose=False)
    run.strategy.connect(model)
    run.save_checkpoint(folder / "a.ckpt")
    return model, run, scores


def test_a_test_with_a_detector(monkeypatch, tmp_path):
    shown = []

    class Sees(torch.nn.Module):
        def forward(self, images):
            shown.extend(images)
            box = torch.tensor([[8.0, 8.0, 40.0, 31.0]])
            return [{"boxes": box, "labels": torch.tensor([3]), "scores": torch.tensor([0.9])} for _ in images]

    read = []
    monkeypatch.setattr(
        "pcpad.tasks.judges.detection.load_detector",
        lambda weights: read.append(weights) or StreetDetector(Sees(), COCO, "faster_rcnn_coco"),
    )
    model, run, scores = outcome(tmp_path, detector="some.pth")
    for name in ("detAP", "detAP50", "real_detAP", "real_detAP50"):
        assert 0.5 < scores[f"test/faster_rcnn_coco_64x64/{name}"] <= 1
    assert len(shown) == 6
    real = torch.stack([item["image"] for item in Streets().items()]) / 255
    torch.testing.assert_close(torch.stack([*shown[2:4], *shown[5:]]), real)
    with torch.no_grad():
        batch = next(iter(Streets().test_dataloader()))
        torch.testing.assert_close(torch.stack(shown[:2]), model.eval()(batch["label"], batch["instance"]))
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert {name.split(".")[0] for name in content["state_dict"]} == {"generator", "discriminator", "average"}
    assert not {"detector", "judge", "inception"} & set(content["hyper_parameters"])
    assert run.test(model, Streets(), verbose=False) == [scores]  # starts anew
    run.validate(model, Streets(), verbose=False)
    assert read == ["some.pth"] * 2  # none for validation


@pytest.mark.slow
def test_a_test_over_two_processes_is_that_of_one(monkeypatch, tmp_path):
    class Sees(torch.nn.Module):
        """A box that depends on the image, so that which images were seen shows in the score."""

        def forward(self, images):
            boxes = [torch.tensor([[8.0, 8.0, 34.0 + 12 * float(image[0, 0, 0]), 31.0]]) for image in images]
            return [{"boxes": box, "labels": torch.tensor([3]), "scores": torch.tensor([0.9])} for box in boxes]

    detector = StreetDetector(Sees(), COCO, "sees")
    monkeypatch.setattr("pcpad.tasks.judges.detection.load_detector", lambda weights: detector)
    _, _, alone = outcome(tmp_path, detector="some.pth")
    _, run, shared = outcome(tmp_path, detector="some.pth", devices=2, strategy="ddp_fork")
    assert run.world_size == 2
    names = [f"test/sees_64x64/{name}" for name in ("detAP", "detAP50", "real_detAP", "real_detAP50")]
    assert [shared[name] for name in names] == [alone[name] for name in names]
    assert alone[names[2]] < alone[names[3]]


def test_a_missing_detector_stops_a_test_before_it_starts(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        outcome(tmp_path, detector=str(tmp_path / "absent.pth"))


@pytest.mark.slow
def test_a_test_with_faster_rcnn_itself(tmp_path, monkeypatch):
    state = detector_state(9)
    state["roi_heads.box_predictor.cls_score.bias"][[1, 3]] += 3  # else untrained scores soon fall below 0.05
    torch.save(state, tmp_path / "detector.pth")
    finds, look = [], StreetDetector.forward
    monkeypatch.setattr(StreetDetector, "forward", lambda self, image: finds.append(look(self, image)) or finds[-1])
    _, _, scores = outcome(tmp_path, 1, detector=str(tmp_path / "detector.pth"))
    (item,) = Streets(1).items()
    objects = street_objects(item["label"][None], item["instance"][None])
    assert len(finds) == 2
    for prefix, found in zip(("", "real_"), finds, strict=True):
        assert 10 < len(found[0]["boxes"]) <= 100
        assert 0 <= float(found[0]["boxes"].min()) < float(found[0]["boxes"].max()) <= 64  # the image's own pixels
        wanted = independent(list(zip(objects, found, strict=True)), OBJECTS)
        name = f"test/faster_rcnn_cityscapes_64x64/{prefix}"
        assert [scores[f"{name}detAP"], scores[f"{name}detAP50"]] == pytest.approx(wanted, abs=1e-6)

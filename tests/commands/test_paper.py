"""`pcpad paper` from hand-written folders, against numbers worked out here."""

import csv
import io
import json
import statistics
from dataclasses import replace

import pytest
import yaml

from pcpad import cli
from pcpad.commands.comparison.cells import folder_of_test
from pcpad.commands.comparison.grid import PADDING, SEED, Grid, expand
from pcpad.commands.comparison.grid_file import enter_grid
from pcpad.commands.papers.published import published_figures, published_tables

# The 2018 paper's Table 2, ResNet-50, and its Table 4.
TOP1 = {
    "zeros": [76.240, 76.074, 75.988, 76.136, 76.224],
    "partial": [76.606, 76.532, 76.638, 76.562, 76.716],
    "reflect": [76.188, 76.240, 76.380, 75.884, 76.182],
}
CROSSED = {
    ("zeros", "partial"): [62.364, 55.576, 56.746, 61.824, 62.364],
    ("partial", "zeros"): [76.054, 75.862, 75.806, 75.854, 75.820],
}


def make_grid(root, axes, *, task="ClassificationTask", network="resnet50", monitor="val/top1", epochs=100, **options):
    resolved = {
        "checkpoint": {"monitor": monitor, "mode": "max"},
        "trainer": {"max_epochs": epochs},
        "model": {
            "class_path": f"pcpad.tasks.{task}",
            "init_args": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}},
        },
        "data": {"class_path": "pcpad.datamodules.ImageNetDataModule", "init_args": {"root": "small", "batch_size": 8}},
    }
    grid = Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved, **options)
    return enter_grid(root, grid), {"task": task, "network": network}


def write(folder, results, version=0):
    run = folder / "fake" / f"version_{version}"
    run.mkdir(parents=True, exist_ok=True)
    (run / "results.json").write_text(json.dumps(results))
    return run


def write_fit(root, cell, about, history, monitor="val/top1", finished=True):
    entry = {**about, "monitor": monitor, "history": dict(enumerate(history)), "metrics": {}, "finished": finished}
    entry["trained_with"] = cell.values.get(PADDING)
    return write(root / cell.name / "fit", {"fit": entry})


def write_test(root, grid, cell, about, metrics, tested=None):
    own = cell.values.get(PADDING)
    entry = {**about, "trained_with": own, "tested_with": tested or own, "metrics": metrics}
    write(folder_of_test(root, grid, cell, tested or own), {"test": entry})


@pytest.fixture
def resnet(tmp_path):
    """The paper's own runs of ResNet-50, crossed."""
    root = tmp_path / "grid"
    axes = {PADDING: tuple(TOP1), SEED: tuple("01234")}
    grid, about = make_grid(root, axes, cross=True)
    for cell in grid.cells:
        padding, seed = cell.values[PADDING], int(cell.seed)
        top1 = TOP1[padding][seed] / 100
        write_fit(root, cell, about, [0.1, top1, *[top1 - 0.001 * k for k in (1, 2, 3, 4)]])
        write_test(root, grid, cell, about, {"test/top1": top1})
        for (trained, tested), values in CROSSED.items():
            if trained == padding:
                write_test(root, grid, cell, about, {"test/top1": values[seed] / 100}, tested)
    return root


def paper(capsys, *args):
    cli.main(["paper", *map(str, args)])
    return capsys.readouterr().out


def cells(capsys, *args):
    """`{row: {column: (published, ours)}}` of one table's CSV."""
    found = {}
    for row in csv.DictReader(io.StringIO(paper(capsys, *args, "--format", "csv"))):
        found.setdefault(row["row"], {})[row["column"]] = (row["published"].lstrip("'"), row["ours"].lstrip("'"))
    return found


def failing(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        cli.main(["paper", *map(str, args)])
    assert caught.value.code not in (0, None)
    return capsys.readouterr().err


def test_everything_is_listed_with_what_makes_it(capsys):
    lines = paper(capsys, "list").splitlines()[1:]
    names = [line.split()[0] for line in lines]
    assert sorted(names) == sorted({*published_tables(), *published_figures()})
    by_name = dict(zip(names, lines, strict=True))
    assert "yes, from files of `pcpad bench --json`" in by_name["2018:T1"]
    assert "by `pcpad figure inpaintings`" in by_name["2022:F7"]
    assert all("  yes, from " in line for line in lines)


def test_table_2_with_the_papers_own_runs_is_the_papers(resnet, capsys):
    found = cells(capsys, "2018:T2", "--runs", resnet)
    for row in ("resnet50_zero", "resnet50_partial"):
        for column, (published, ours) in found[row].items():
            if column == "PT_official":
                assert ours == "–"
            elif published == "-":
                assert ours == "-"
            else:
                assert float(ours) == pytest.approx(float(published), abs=0.0011), (row, column)
    # Reflect's deviation is n - 1.
    assert found["resnet50_ref"]["stdev"] == ("0.181", "0.181")
    assert found["resnet50_zero"]["PT_official"] == ("76.15", "–")
    assert found["resnet50_rep"]["average"] == ("76.207", "missing")
    found = cells(capsys, "2018:T2", "--runs", resnet, "--all-rows")
    assert found["vgg16BN_zero"]["3_best"] == ("73.610", "missing")


def test_text_has_ours_below_the_papers_and_says_what_differs(resnet, capsys):
    out = paper(capsys, "2018:T2", "--runs", resnet)
    lines = out.splitlines()
    place = next(i for i, line in enumerate(lines) if "resnet50_partial" in line)
    assert "76.606" in lines[place]
    assert "paper" in lines[place]
    assert "ours" in lines[place + 1]
    assert "76.606" in lines[place + 1]
    assert "data: ours ImageNetDataModule, root small; the paper's ImageNet, 224 px" in out
    assert "schedule: ours max_epochs 100, SGD of learning rate 0.1, 8 a step; the paper's 100 epochs" in out
    assert "runs: ours" not in out  # as many as the paper's
    assert "n - 1" in out


def test_last_epochs_and_cross_testing(resnet, capsys):
    last = cells(capsys, "2018:T3", "--runs", resnet)
    means = [100 * statistics.fmean([v / 100 - 0.001 * k for k in range(5)]) for v in TOP1["partial"]]
    assert [last["resnet50_partial"][f"{place + 1}_last5_avg"][1] for place in range(5)] == [f"{m:.3f}" for m in means]
    crossed = cells(capsys, "2018:T4", "--runs", resnet)
    row = crossed["resnet50_zero | resnet50_partial"]
    assert float(row["diff"][1]) == pytest.approx(-16.357, abs=0.002)
    assert float(row["average"][1]) == pytest.approx(59.7748, abs=0.0005)
    assert crossed["resnet50_partial | resnet50_zero"]["diff"] == ("-0.732", "-0.732")
    matrix = cells(capsys, "2022:T8", "--runs", resnet)
    assert matrix["zero"]["partial/diff"] == ("59.77/-16.35", "59.77/-16.36")
    assert matrix["partial"]["partial/diff"] == ("76.61/0", "76.61/0.00")
    assert matrix["rep"]["rep/diff"] == ("76.21/0", "missing")


def test_epochs_are_counted_on_the_mean_curve(tmp_path, capsys):
    root = tmp_path / "grid"
    grid, about = make_grid(root, {PADDING: ("zeros", "partial"), SEED: ("0", "1")})
    curves = {"zeros0": [0.5, 0.8, 0.9], "zeros1": [0.5, 0.6, 0.8], "partial0": [0.7, 0.7], "partial1": [0.8, 0.7]}
    for cell in grid.cells:
        write_fit(root, cell, about, curves[cell.values[PADDING] + cell.seed])
    found = cells(capsys, "2018:F3", "--runs", root)
    # No single run says so: on the mean 0.5, 0.7, 0.85.
    assert found["resnet50_zero"]["epochs"] == ("68", "3")
    assert found["resnet50_partial"]["epochs"] == ("63", "1")
    found = cells(capsys, "2018:F3", "--runs", root, "--reach", "0.86")
    assert found["resnet50_zero"]["epochs"] == ("–", "never")


def test_another_network_has_rows_of_its_own_or_stands_in(tmp_path, capsys):
    root = tmp_path / "grid"
    grid, about = make_grid(root, {PADDING: ("zeros", "circular"), SEED: ("3", "7")}, network="timm/small")
    for cell in grid.cells:
        write_fit(root, cell, about, [0.5, 0.6 + 0.01 * int(cell.seed)])
        write_test(root, grid, cell, about, {"test/top1": 0.5})
    found = cells(capsys, "2018:T2", "--runs", root)
    assert found["timm/small_zero"]["1_best"] == ("", "63.000")
    assert found["timm/small_zero"]["2_best"] == ("", "67.000")
    assert found["timm/small_zero"]["3_best"] == ("", "missing")
    assert found["timm/small_circular"]["diff"] == ("", "0.000")
    assert set(found) == {"timm/small_zero", "timm/small_circular"}
    found = cells(capsys, "2018:T2", "--runs", root, "--all-rows")
    assert found["resnet50_zero"]["average"] == ("76.132", "missing")
    found = cells(capsys, "2018:T2", "--runs", root, "--as", "resnet50=timm/small")
    assert found["resnet50_zero"]["average"] == ("76.132", "65.000")
    assert found["resnet50_circular"]["average"] == ("", "65.000")
    assert "timm/small_zero" not in found
    out = paper(capsys, "2018:T2", "--runs", root, "--as", "resnet50=timm/small")
    assert "network: ours timm/small in the place of the paper's resnet50" in out
    assert "runs: ours 2; the paper's 5" in out
    # A table of one network takes the one that there is.
    assert cells(capsys, "2022:T8", "--runs", root)["zero"]["zero/diff"] == ("76.13/0", "50.00/0.00")
    err = failing(capsys, "2018:T2", "--runs", root, "--as", "resnet5=timm/small")
    assert "Did you mean resnet50" in err
    err = failing(capsys, "2018:T2", "--runs", root, "--as", "resnet50=timm/smal")
    assert "Did you mean timm/small" in err


def test_segmentation_tables(tmp_path, capsys):
    root = tmp_path / "grid"
    axes = {PADDING: ("zeros", "partial"), "data.split": ("cv0", "cv2"), SEED: ("0", "1", "2")}
    network = "deeplabv3plus wide_resnet38"
    options = {"task": "SegmentationTask", "network": network, "monitor": "val/mIoU"}
    grid, about = make_grid(root, axes, **options)
    regions = {"0.000": 0.80, "0.333": 0.79, "0.500": 0.78, "0.667": 0.77, "0.750": 0.76, "0.875": 0.75}
    for cell in grid.cells:
        better = 0.01 * (cell.values[PADDING] == "partial")
        value = 0.7 + better + 0.001 * int(cell.seed) + 0.05 * (cell.values["data.split"] == "cv2")
        write_fit(root, cell, about, [value, value - 0.1], "val/mIoU")
        metrics = {f"test/border_tile512/leave_{at}/mIoU": mIoU + 2 * better for at, mIoU in regions.items()}
        metrics |= {"test/regular/mIoU": 0.7 + better, "test/tile512_o0/mIoU": 0.71, "test/tile512_o0.33/mIoU": 0.72}
        write_test(root, grid, cell, about, metrics)
    found = cells(capsys, "2018:T5", "--runs", root)["WN38_partial"]
    assert found["default split: 2_best"] == ("80.357", "71.100")
    assert found["additional split: mean"] == ("79.004", "76.100")
    assert found["additional split: diff"] == ("0.164", "1.000")
    found = cells(capsys, "2022:T3", "--runs", root)
    assert found["WN38_zero"]["default split: stdev"] == ("0.18", "0.10")  # n - 1, as that paper's
    assert "RN50_zero" not in found
    found = cells(capsys, "2022:T3", "--runs", root, "--all-rows")
    assert found["RN50_zero"]["default split: mean"] == ("78.08", "missing")
    assert cells(capsys, "2018:T6", "--runs", root)["WN38_zero"]["1/3 Tile overlap"] == ("79.705", "72.000")
    found = cells(capsys, "2018:T7", "--runs", root)
    assert found["WN38_zero"]["7/8 x 7/8"] == ("78.981", "75.000")
    assert found["diff"]["1/3 x 1/3"] == ("0.385", "2.000")
    # That column is of 1/2.
    assert cells(capsys, "2022:T4", "--runs", root)["WN38_zero"]["1/3 x 1/3"] == ("80.472", "78.000")
    assert "Our tiles are of 512 pixels; the papers' of 1024." in paper(capsys, "2018:T7", "--runs", root)
    for arguments, sizes in (
        (("--eval+=Tile", "--eval.size=2048"), {"test/tile2048_o0/mIoU": 0.3, "test/tile1024_o0/mIoU": 0.4}),
        (("--eval+=Tile", "--data.root=elsewhere"), {"test/tile1024_o0.33/mIoU": 0.1}),
    ):
        beside = replace(grid, test_arguments=arguments)
        for cell in grid.cells:
            write_test(root, beside, cell, about, sizes)
    # The papers' size before larger ones; a test on other data is none of the table's.
    found = cells(capsys, "2018:T6", "--runs", root)["WN38_zero"]
    assert (found["0 Tile overlap"][1], found["1/3 Tile overlap"][1]) == ("40.000", "72.000")


def single(folder, about, seed, *, fit=None, test=None, max_epochs=3):
    """A run of `pcpad fit` or `pcpad test`."""
    entries = {}
    if fit is not None:
        entries["fit"] = {
            **about,
            "finished": True,
            "metrics": {},
            "history": dict(enumerate(fit)),
            "monitor": "val/psnr",
        }
    if test is not None:
        entries["test"] = {**about, "tested_with": about["trained_with"], "metrics": test}
    run = write(folder, entries)
    config = {
        "seed_everything": seed,
        "trainer": {"max_epochs": max_epochs},
        "model": {"class_path": "pcpad.tasks.InpaintingTask", "init_args": {}},
        "data": {"class_path": "pcpad.datamodules.Places2DataModule", "init_args": {"root": "x", "image_size": 64}},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return run


def test_single_runs_of_inpainting_and_what_tested_them(tmp_path, capsys):
    network = {"task": "InpaintingTask", "network": "inpainting_unet depth 8 width 64"}
    for padding, gain in (("zeros", 0.0), ("partial", 1.0)):
        for seed in (0, 1):
            about = {**network, "trained_with": padding}
            run = single(tmp_path / "runs" / padding / str(seed), about, seed, fit=[20.0, 21.0])
            metrics = {
                "test/psnr/0.01-0.20": 30 + gain + seed,
                "test/l1/0.20-0.40": 2.5 - gain,
                "test/ssim/0.40-0.60": 0.5,
            }
            metrics["test/inception_score"] = 4.0
            about["checkpoint"] = str(run / "checkpoints" / "best.ckpt")
            single(tmp_path / "runs" / "tests" / f"{padding}{seed}", about, 5, test=metrics)
    found = cells(capsys, "2022:T6", "--runs", tmp_path / "runs")
    assert found["PSNR(PartialConv)"]["[0.01, 0.2]"] == ("31.030", "31.500")
    assert found["l1 (Conv)(%)"]["(0.2, 0.4]"] == ("2.653", "2.500")
    assert found["SSIM(Conv)"]["(0.4, 0.6]"] == ("0.526", "0.500")
    assert found["SSIM(Conv)"]["(0.2, 0.4]"] == ("0.724", "missing")
    assert found["IS(Conv)"]["(0.2, 0.4]"] == ("0.741", "–")
    out = paper(capsys, "2022:T6", "--runs", tmp_path / "runs")
    assert "IS(PartialConv): the Inception Score of ours is 4.000 over all images." in out
    assert "schedule: ours max_epochs 3; the paper's not said" in out  # of training, not of the test
    single(tmp_path / "runs" / "again", {**network, "trained_with": "zeros"}, 0, fit=[1.0])
    err = failing(capsys, "2022:T6", "--runs", tmp_path / "runs")
    assert "Two runs of inpainting_unet" in err
    assert "seed 0" in err


def test_damaged_single_runs_are_named_and_the_others_count(tmp_path, capsys):
    about = {"task": "InpaintingTask", "network": "inpainting_unet depth 8 width 64", "trained_with": "zeros"}
    runs = [
        single(tmp_path / str(seed), about, seed, fit=[1.0], test={"test/psnr/0.01-0.20": 30.0}) for seed in range(4)
    ]
    (runs[0] / "results.json").write_text('{"fit": 1}')
    (runs[1] / "config.yaml").write_text("a: [")
    (runs[2] / "metrics.csv").write_text("epoch,val/psnr\nx,y\n")
    odd = {**about, "checkpoint": "a\0b/checkpoints/best.ckpt"}
    run = single(tmp_path / "odd", odd, 9, test={"test/psnr/0.01-0.20": 33.0})
    (run / "config.yaml").write_text("data: nothing\nresults: 3\nmodel: [1]\n")
    with pytest.raises(SystemExit) as caught:
        cli.main(["paper", "2022:T6", "--runs", str(tmp_path), "--format", "csv"])
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    assert 'PSNR(Conv),"[0.01, 0.2]",30.548,30.750,' in out
    for name in ("results.json is damaged", "config.yaml is damaged", "metrics.csv is damaged"):
        assert name in err
    assert len(err.splitlines()) == 3


def test_filtering_videos_and_synthesis(tmp_path, capsys):
    def grid_of(name, task, network, metrics):
        root = tmp_path / name
        grid, about = make_grid(root, {PADDING: ("zeros", "partial"), SEED: ("0", "1")}, task=task, network=network)
        for cell in grid.cells:
            write_fit(root, cell, about, [0.1], "val/x")
            write_test(root, grid, cell, about, metrics(cell.values[PADDING] == "partial", int(cell.seed)))

    grid_of(
        "gauss", "GaussianFilteringTask", "filtering_unet width 32", lambda p, s: {"test/mse": 0.0004 if p else 0.0005}
    )
    grid_of("act", "ActionRecognitionTask", "resnet3d50", lambda p, s: {"test/video_top1": 0.6 + 0.02 * p + 0.01 * s})
    judged = {"test/drn_256x512/real_mIoU": 0.9, "test/faster_rcnn_coco_256x512/real_detAP": 0.9}
    grid_of(
        "syn", "SynthesisTask", "spade_generator ngf 64",
        lambda p, s: {**judged, "test/drn_256x512/mIoU": 0.6, "test/faster_rcnn_coco_256x512/detAP": 0.1 + 0.01 * p},
    )  # fmt: skip
    found = cells(capsys, "2022:T2", "--runs", tmp_path)
    assert found["U-NET_zero"]["relative percentage over best"] == ("%81.8", "%80.0")
    assert found["U-NET_partial"]["MSE metric"] == ("0.000419", "0.000400")
    found = cells(capsys, "2022:T5", "--runs", tmp_path)["3D RN50_partial"]
    assert list(found.values()) == [("61.9", "62.0"), ("62.1", "63.0"), ("62.0", "62.5"), ("-", "–")]
    found = cells(capsys, "2022:T7", "--runs", tmp_path)["Image generator with partial convolution"]
    assert found == {"mIoU": ("61.24", "60.00"), "detAP": ("11.50", "11.00")}


def bench(path, network="resnet50", size=(224, 224)):
    times = {"zeros": 5.0, "control": 5.0, "partial, first call": 6.0, "partial, later calls": 5.15, "explicit": None}
    setting = {"batch": 1, "mode": "inference", "backend": "eager", "layout": "nchw", "dtype": "float32"}
    rows = [
        {**setting, "padding": name, "milliseconds": time, "relative": time and [time / 5, 1.0, 2.0]}
        for name, time in times.items()
    ]
    path.write_text(json.dumps({"machine": {"device": "a CPU"}, "network": network, "size": size, "rows": rows}))
    return path


def test_times_of_bench(tmp_path, capsys):
    files = [bench(tmp_path / "a.json"), bench(tmp_path / "b.json", "vgg11", (32, 32))]
    found = cells(capsys, "2018:T1", "--all-rows", "--runs", *files)
    assert found["resnet50_partial (2nd - nth)"]["relative"] == ("103.39%", "103.00%")
    assert found["resnet50_zero"]["running time"] == ("5.779", "5.000")
    assert found["vgg16BN_zero"]["relative"] == ("100%", "missing")
    assert found["vgg11_partial (1st)"]["relative"] == ("", "120.00%")
    out = paper(capsys, "2022:T1", "--runs", *files)
    assert "schedule: ours inference, batch 1 of 224x224, eager, nchw, float32; device a CPU" in out
    assert "vgg11: not the papers' setting" in out
    (tmp_path / "c.json").write_text('{"rows": [')
    assert "c.json is damaged, or no file that `pcpad bench --json FILE` wrote" in failing(
        capsys, "2018:T1", "--runs", tmp_path / "c.json"
    )


def test_all_prints_what_can_be_made_and_names_the_rest(resnet, capsys, tmp_path):
    output = tmp_path / "tables.tex"
    cli.main(["paper", "all", "--runs", str(resnet), "--format", "latex", "--output", str(output)])
    err, text = capsys.readouterr().err, output.read_text()
    assert text.count(r"\begin{table}") == 5  # T2, T3, T4, F3, 2022's T8
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 5
    assert r"resnet50\_zero & paper & 76.240" in text
    assert "Not made: 2018:T5 is made of runs of SegmentationTask" in err
    assert "2018:T1 is made of files of `pcpad bench --json`" in err


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "csv"])
def test_rows_of_networks_that_nobody_ran_are_one_line(resnet, capsys, form):
    line = "4 of the paper's 5 networks have no runs here, and their rows are left out (vgg16BN, vgg19BN, resnet101,"
    cli.main(["paper", "2018:T2", "--runs", str(resnet), "--format", form])
    out, err = capsys.readouterr()
    assert line in (err if form == "csv" else out)
    assert "vgg16BN_zero" not in out.replace("\\", "")
    assert "resnet50_partial" in out.replace("\\", "")
    cli.main(["paper", "2018:T2", "--runs", str(resnet), "--format", form, "--all-rows"])
    out, err = capsys.readouterr()
    assert "have no runs" not in out + err
    assert "vgg16BN_zero" in out.replace("\\", "")
    cli.main(["paper", "all", "--runs", str(resnet), "--format", form])
    out, err = capsys.readouterr()
    assert (err if form == "csv" else out).count(line) == 2  # T2 and T3
    assert "vgg16BN_zero" not in out.replace("\\", "")


def test_all_rows_without_effect_is_refused(resnet, capsys):
    assert "--all-rows has no effect without --runs" in failing(capsys, "2018:T2", "--all-rows")
    assert "no effect on figures" in failing(capsys, "2018:F6", "--all-rows", "--runs", resnet)


def test_markdown_and_the_paper_alone(resnet, capsys):
    out = paper(capsys, "2022:T8", "--runs", resnet, "--format", "markdown")
    assert "| zero | paper | 76.13/0 |" in out
    assert "| ours | 76.13/0.00 |" in out
    out = paper(capsys, "2022:T2")
    assert "%81.8" in out
    assert "ours" not in out.partition("alone")[0]


def test_what_cannot_be_made_says_why(resnet, tmp_path, capsys):
    assert "Did you mean 2018:T" in failing(capsys, "2018:T12")
    assert "There is no folder" in failing(capsys, "2018:T2", "--runs", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "No runs in" in failing(capsys, "2018:T2", "--runs", tmp_path / "empty")
    err = failing(capsys, "2018:T6", "--runs", resnet)
    assert "made of runs of SegmentationTask" in err
    assert "--runs has ClassificationTask (15)" in err
    assert "pcpad compare --config seg_wn38.yaml" in err
    untested = tmp_path / "untested"
    grid, about = make_grid(untested, {PADDING: ("zeros",), SEED: ("0",)})
    write_fit(untested, grid.cells[0], about, [0.5])
    err = failing(capsys, "2018:T4", "--runs", untested)
    assert "have logged test/top1" in err
    assert "have val/top1" in err
    err = failing(capsys, "2022:T5", "--runs", tmp_path / "grid", "--output", tmp_path / "no" / "x.csv")
    assert "there is no folder" in err
    err = failing(capsys, "2018:T2", "--runs", resnet, "--output", resnet / "grid.json")
    assert "grid.json" in err


def test_damaged_and_unfinished_runs_are_named(resnet, capsys):
    (resnet / "padding=partial" / "seed=2" / "fit" / "fake" / "version_0" / "results.json").write_text('{"fit": {')
    unfinished = resnet / "padding=zeros" / "seed=1" / "fit" / "fake" / "version_0" / "results.json"
    unfinished.write_text(unfinished.read_text().replace('"finished": true', '"finished": false'))
    with pytest.raises(SystemExit) as caught:
        cli.main(["paper", "2018:T2", "--runs", str(resnet), "--format", "csv"])
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    assert "seed=2" in err
    assert "is damaged" in err
    rows = {(row["row"], row["column"]): row["ours"] for row in csv.DictReader(io.StringIO(out))}
    assert rows["resnet50_partial", "5_best"] == "missing"
    kept = [value for place, value in enumerate(TOP1["partial"]) if place != 2]
    assert rows["resnet50_partial", "average"] == f"{statistics.fmean(kept):.3f}"
    # By seed: of 0, 3 and 4, which both have.
    pairs = [TOP1["partial"][seed] - TOP1["zeros"][seed] for seed in (0, 3, 4)]
    assert rows["resnet50_partial", "diff"] == f"{statistics.fmean(pairs):.3f}"
    with pytest.raises(SystemExit):
        cli.main(["paper", "2018:T2", "--runs", str(resnet)])
    assert "Left out, because training did not come to its end:" in capsys.readouterr().out
    (resnet / "grid.json").write_text("{")
    assert "grid.json is damaged" in failing(capsys, "2018:T2", "--runs", resnet)


def test_a_number_that_is_none_is_in_no_average(tmp_path, capsys):
    root = tmp_path / "grid"
    grid, about = make_grid(root, {PADDING: ("zeros",), SEED: ("0", "1", "2")})
    for cell in grid.cells:
        write_fit(root, cell, about, [0.5, None if cell.seed == "1" else 0.6])
    found = cells(capsys, "2018:T2", "--runs", root)["resnet50_zero"]
    assert (found["2_best"][1], found["average"][1]) == ("nan", "60.000")
    assert "seeds 1 are not finite" in paper(capsys, "2018:T2", "--runs", root)


def test_figures_are_drawn_by_what_draws_them(resnet, tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr("pcpad.commands.figure.main", drawn.append)
    assert "checkpoints of InpaintingTask" in failing(capsys, "2022:F7")
    paper(capsys, "2022:F1")
    assert drawn.pop() == ["masks", "windows", "--output", "2022-F1.png"]
    assert "no checkpoints/best.ckpt" in failing(capsys, "2018:F4", "--runs", resnet)
    assert "with zeros" in failing(capsys, "2018:F6", "--runs", resnet)
    for folder in resnet.glob("padding=*/seed=*"):
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "best.ckpt").write_bytes(b"x")
    paper(capsys, "2018:F5", "--runs", resnet, "--output", tmp_path / "a.png", "--", "--count", "1")
    (args,) = drawn
    assert args[:2] == ["activations", "--first"]
    assert all("padding=partial" in name for name in args[2:7])
    assert args[-7:] == ["--layers", "features.22", "features.32", "--count", "1", "--output", str(tmp_path / "a.png")]
    paper(capsys, "2022:F6", "--", "street.png")
    assert drawn[-1] == ["leave-out", "street.png", "--output", "2022-F6.png"]
    assert "one at a time" in failing(capsys, "2022:F6", "2018:T2")
    assert "is none" in failing(capsys, "2018:T2", "--", "--count", "1")


def test_curves_are_drawn(resnet, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    paper(capsys, "2018:F3", "--draw", "--runs", resnet, "--output", tmp_path / "curves.png")
    paper(capsys, "2018:F1", "--runs", resnet, "--output", tmp_path / "bars.pdf")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "bars.pdf").read_bytes().startswith(b"%PDF")
    assert not (resnet / "bars.png").exists()
    assert ".png or .pdf" in failing(capsys, "2018:F1", "--runs", resnet, "--output", tmp_path / "bars.xyz")


def test_bars_are_grouped_over_networks_beside_the_published_averages(resnet, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    other = tmp_path / "other"
    grid, about = make_grid(other, {PADDING: ("zeros", "partial"), SEED: ("0", "1")}, network="tiny")
    for cell in grid.cells:
        write_fit(other, cell, about, [0.5 + 0.01 * int(cell.seed)])
    drawn = []
    monkeypatch.setattr("pcpad.commands.papers.bars.save_figure", lambda figure, path: drawn.append(figure) or path)
    paper(capsys, "2018:F1", "--runs", resnet, other)
    (axes,) = drawn[-1].axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["resnet50", "tiny"]
    heights = sorted(round(bar.get_height(), 3) for bar in axes.patches)
    assert heights == [50.5, 50.5, 76.132, 76.611]  # reflect is not in that figure
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["published average", "zeros", "partial"]
    diamonds = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "D"]
    assert diamonds == [76.132, 76.611]
    paper(capsys, "2022:F4", "--runs", resnet)
    assert len(drawn[-1].axes[0].patches) == 3
    assert "--runs has none" in failing(capsys, "2018:F1")


def test_a_grid_of_something_else_than_paddings(tmp_path, capsys):
    """Inpainting has no padding to compare, but `model.partial`."""
    root = tmp_path / "grid"
    axes = {"model.partial": ("true", "false"), SEED: ("0", "1")}
    grid, about = make_grid(root, axes, task="InpaintingTask", network="inpainting_unet depth 3 width 4")
    for cell in grid.cells:
        partial = cell.values["model.partial"] == "true"
        about = {**about, "trained_with": "partial" if partial else "zeros"}
        write(root / cell.name / "fit", {"fit": {**about, "monitor": None, "history": {}, "metrics": {}}})
        entry = {**about, "tested_with": about["trained_with"], "metrics": {"test/psnr/0.01-0.20": 25.0 + partial}}
        write(folder_of_test(root, grid, cell, None), {"test": entry})
    found = cells(capsys, "2022:T6", "--runs", root)
    assert found["PSNR(PartialConv)"]["[0.01, 0.2]"] == ("31.030", "26.000")
    assert found["PSNR(Conv)"]["[0.01, 0.2]"] == ("30.548", "25.000")
    assert "ours inpainting_unet depth 3 width 4 in the place" in paper(capsys, "2022:T6", "--runs", root)


def test_what_else_varies_in_a_grid_is_another_network(tmp_path, capsys):
    root = tmp_path / "grid"
    axes = {PADDING: ("zeros",), "model.norm": ("batch", "group"), SEED: ("0",)}
    grid, about = make_grid(root, axes)
    for cell in grid.cells:
        write_fit(root, cell, about, [0.6 + 0.1 * (cell.values["model.norm"] == "group")])
    found = cells(capsys, "2018:T2", "--runs", root)
    assert found["resnet50_zero"]["average"][1] == "missing"
    assert found["resnet50, model.norm=batch_zero"]["average"] == ("", "60.000")
    assert found["resnet50, model.norm=group_zero"]["average"] == ("", "70.000")


def test_a_rate_that_goes_with_the_padding_makes_no_other_network(tmp_path, capsys):
    root = tmp_path / "grid"
    for padding, rate, top1 in (("zeros", "0.03", 0.6), ("partial", "0.1", 0.7)):
        grid, about = make_grid(root, {PADDING: (padding,), "model.optimizer.init_args.lr": (rate,), SEED: ("0",)})
        for cell in grid.cells:
            if cell.values[PADDING] == padding:
                write_fit(root, cell, about, [top1])
    found = cells(capsys, "2018:T2", "--runs", root)
    assert found["resnet50_zero"]["average"][1] == "60.000"
    assert found["resnet50_partial"]["average"][1] == "70.000"
    said = paper(capsys, "2018:T2", "--runs", root)
    assert "learning rate 0.03 with zeros, 0.1 with partial" in said
    assert "learning rate None" not in said


def test_a_rate_may_go_with_the_norm_as_well(tmp_path, capsys):
    root, rate, norm = tmp_path / "grid", "model.optimizer.init_args.lr", "model.norm"
    rows = [("zeros", "batch", "0.3", 0.6), ("partial", "batch", "0.1", 0.7)]
    rows += [("zeros", "group", "0.03", 0.4), ("partial", "group", "0.03", 0.5)]
    for padding, kind, value, top1 in rows:
        grid, about = make_grid(root, {PADDING: (padding,), norm: (kind,), rate: (value,), SEED: ("0",)})
        for cell in grid.cells:
            if cell.values == {PADDING: padding, norm: kind, rate: value, SEED: "0"}:
                write_fit(root, cell, about, [top1])
    found = cells(capsys, "2018:T2", "--runs", root)
    assert found["resnet50, model.norm=batch_partial"]["average"] == ("", "70.000")
    assert found["resnet50, model.norm=batch_partial"]["diff"] == ("", "10.000")
    assert found["resnet50, model.norm=group_partial"]["diff"] == ("", "10.000")
    said = " ".join(paper(capsys, "2018:T2", "--runs", root).split())
    assert "0.3 with zeros (resnet50, model.norm=batch), 0.1 with partial (resnet50, model.norm=batch)" in said

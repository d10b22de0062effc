"""Images of which parts are read, and results that are written block by block."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from pcpad.tiling import Margin, Tiling, WindowReader, run_tiled, tiled_argmax, tiled_blocks

pytestmark = pytest.mark.faults


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)).double().eval()


@pytest.fixture
def picture():
    return torch.rand(3, 70, 90, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Raster:
    """Reads windows as rasterio's data sets do, and counts what is read."""

    def __init__(self, values):
        self.values = values
        self.count, self.height, self.width = values.shape
        self.largest = self.read_pixels = 0

    def read(self, indexes=None, *, window=None):
        (top, bottom), (left, right) = window
        pixels = (bottom - top) * (right - left)
        self.largest, self.read_pixels = max(self.largest, pixels), self.read_pixels + pixels
        return self.values[:, top:bottom, left:right]


class Lazy:
    """An array of which slices can be taken and nothing else, as tifffile's stores opened by zarr."""

    def __init__(self, values):
        self._values = values
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, key):
        assert key[0] is Ellipsis
        assert all(part.stop - part.start <= 32 for part in key[1:])
        return self._values[key]


def test_every_way_to_hand_over_an_image(network, picture, tmp_path):
    expected = network(picture[None])
    margin, array = Margin("exact", network), picture.numpy()
    mapped = np.memmap(tmp_path / "image", dtype="float64", mode="w+", shape=array.shape)
    mapped[:] = array
    mapped.flush()
    reader = Raster(array)
    assert isinstance(reader, WindowReader)
    sources = [
        array,
        array[None],
        np.memmap(tmp_path / "image", dtype="float64", mode="r", shape=array.shape),
        Lazy(array),
        reader,
        array.astype(">f8"),
        np.asfortranarray(array),
    ]
    for source in sources:
        found = run_tiled(network, source, Tiling(24), margin=margin)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert reader.largest <= (24 + 6) ** 2
    assert reader.read_pixels < 1.7 * 70 * 90


def test_gray_images_and_bytes():
    network = nn.Conv2d(1, 2, 3, padding=1).eval()

    def of_bytes(tile):
        assert tile.dtype == torch.uint8
        return network(tile / 255)

    array = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    found = run_tiled(of_bytes, array, Tiling(16), margin=Margin("exact", network))
    torch.testing.assert_close(found, of_bytes(torch.as_tensor(array)[None, None]))


def test_every_way_to_take_the_result(network, picture, tmp_path):
    expected = network(picture[None])
    margin = Margin("exact", network)
    outputs = [
        np.zeros((3, 70, 90)),
        np.zeros((1, 3, 70, 90), dtype=np.float32),
        torch.zeros(1, 3, 70, 90),
        np.memmap(tmp_path / "map", dtype="float32", mode="w+", shape=(3, 70, 90)),
    ]
    for output in outputs:
        assert run_tiled(network, picture[None], Tiling(24), margin=margin, output=output) is output
        found = torch.as_tensor(output).reshape(expected.shape).double()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for classes in (np.zeros((70, 90), dtype=np.uint8), torch.zeros(1, 70, 90, dtype=torch.uint8)):
        tiled_argmax(network, picture[None], Tiling(24), margin=margin, output=classes)
        assert torch.equal(torch.as_tensor(classes).reshape(1, 70, 90).long(), expected.argmax(1))


@pytest.mark.parametrize(("classes", "dtype"), [(3, torch.uint8), (256, torch.uint8), (257, torch.int16)])
@pytest.mark.parametrize("tile", [None, 24])
def test_classes_are_of_the_smallest_type(monkeypatch, picture, classes, dtype, tile):
    monkeypatch.setattr("pcpad.tiling._BAND", 1000)  # several bands where there is one tile
    torch.manual_seed(0)
    network = nn.Conv2d(3, classes, 1).eval().double()
    found = tiled_argmax(network, picture[None], tile and Tiling(tile))
    assert found.dtype == dtype
    assert torch.equal(found.long(), network(picture[None]).argmax(1))


def test_writers_of_windows(network, picture):
    class Writer:
        def __init__(self):
            self.values = np.zeros((3, 70, 90))

        def write(self, array, *, window):
            (top, bottom), (left, right) = window
            self.values[:, top:bottom, left:right] = array

    output = Writer()
    run_tiled(network, Raster(picture.numpy()), Tiling(24), margin=Margin("exact", network), output=output)
    torch.testing.assert_close(torch.as_tensor(output.values)[None], network(picture[None]), rtol=0, atol=1e-12)


def test_overlapping_tiles_are_written_once_each(network, picture):
    output = np.full((3, 70, 90), np.nan)
    run_tiled(network, picture.numpy(), Tiling(24, "1/3"), output=output)
    expected = run_tiled(network, picture[None], Tiling(24, "1/3"))
    torch.testing.assert_close(torch.as_tensor(output)[None], expected)


def read_only(path):
    np.memmap(path, dtype="float32", mode="w+", shape=(3, 70, 90)).flush()
    return np.memmap(path, dtype="float32", mode="r", shape=(3, 70, 90))


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda path: np.zeros((70, 90)), ValueError, r"of shape \(1, 3, 70, 90\), but got \(70, 90\)"),
        (lambda path: np.zeros((3, 70, 90), dtype=np.uint8), TypeError, "hold floats"),
        (read_only, ValueError, "mode 'r"),
        (lambda path: "map.tif", TypeError, "`output`.*str"),
    ],
)
def test_wrong_outputs(network, picture, tmp_path, make, kind, words):
    with pytest.raises(kind, match=words):
        run_tiled(network, picture[None], Tiling(24), output=make(tmp_path / "map"))


def test_classes_that_do_not_fit_are_refused(picture):
    network = nn.Conv2d(3, 300, 1).eval().double()
    network.bias.data[299] += 100
    with pytest.raises(ValueError, match="299 do not fit"):
        tiled_argmax(network, picture[None], Tiling(24), output=np.zeros((70, 90), dtype=np.uint8))
    with pytest.raises(ValueError, match="do not fit into `output`, whose type is torch"):
        tiled_argmax(network, picture[None], Tiling(24), output=torch.zeros(70, 90, dtype=torch.uint8))


def test_wrong_images(network):
    for image in ("image.tif", 3, None):
        with pytest.raises(TypeError, match="`image`"):
            run_tiled(network, image, Tiling(24))
    with pytest.raises(ValueError, match="`image`"):
        run_tiled(network, np.zeros((2, 1, 3, 4, 5)), Tiling(24))
    broken = Raster(np.zeros((3, 70, 90)))
    broken.read = lambda window: np.zeros((3, 4, 5))
    with pytest.raises(ValueError, match="of the image, but got"):
        run_tiled(network, broken, Tiling(24))
    with pytest.raises(ValueError, match="scales"):
        run_tiled(network, np.zeros((3, 70, 90)), Tiling(24), scales=(0.5, 1))


def test_readers_of_sizes_that_count_are_read_tile_by_tile(network):
    """Nothing is held that grows with the image: one that exists nowhere."""

    class Endless:
        count, height, width = 3, 50_000, 50_000

        def read(self, *, window):
            (top, bottom), (left, right) = window
            assert max(bottom - top, right - left) <= 256 + 6
            return np.ones((3, bottom - top, right - left))

    blocks = tiled_blocks(network, Endless(), Tiling(256), margin=Margin("exact", network))
    places = [next(blocks)[0] for _ in range(20)]
    assert places[-1].left == 19 * 256


SPARSE = """
import resource, sys
import numpy as np, torch
from torch import nn
from pcpad.tiling import Tiling, run_tiled, tiled_argmax

side, path = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
network = nn.Sequential(nn.Conv2d(1, 2, 3, stride=8, padding=1), nn.Upsample(scale_factor=8)).eval()
image = np.memmap(path + ".in", dtype="uint8", mode="w+", shape=(1, side, side))
classes = np.memmap(path + ".out", dtype="uint8", mode="w+", shape=(side, side))


class Advised:
    shape = image.shape
    def __getitem__(self, key):
        found = np.array(image[key], dtype="float32")
        image._mmap.madvise(4)  # MADV_DONTNEED: pages of files are the system's to keep, and count for the process
        classes._mmap.madvise(4)
        return found


before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tiled_argmax(network, Advised(), Tiling(2048), margin="exact", output=classes)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="madvise and ru_maxrss are Linux's here")
def test_memory_does_not_grow_with_a_memory_map(tmp_path):
    def grown(side):
        run = subprocess.run(
            [sys.executable, "-c", SPARSE, str(side), str(tmp_path / str(side))],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(run.stdout)

    small, large = grown(4096), grown(16_384)
    assert large < small + 96  # MiB; the large one is 256 MiB of bytes, and 2 GiB as float32 logits

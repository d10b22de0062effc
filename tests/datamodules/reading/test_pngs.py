"""Reading PNG files by parts: every filter against a slow encoder, all kinds of files, and all kinds of damage."""

import io
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from pcpad.datamodules.reading.images import BrokenImageError
from pcpad.datamodules.reading.pngs import ALL, PngFile, PngOutline, png_size

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(path, array):
    Image.fromarray(array).save(path)
    return path


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filtered(image, filters):
    """Rows filtered as the PNG specification's section 9 has it, a byte at a time."""
    height, width, channels = image.shape
    rows = image.reshape(height, width * channels).astype(int)
    out = bytearray()
    for y, kind in enumerate(filters):
        out.append(kind)
        for x in range(width * channels):
            left = rows[y, x - channels] if x >= channels else 0
            up = rows[y - 1, x] if y else 0
            corner = rows[y - 1, x - channels] if y and x >= channels else 0
            guess = left + up - corner
            nearest = min((left, up, corner), key=lambda value: abs(guess - value))  # the first of equals
            out.append((rows[y, x] - (0, left, up, (left + up) // 2, nearest)[kind]) % 256)
    return bytes(out)


def encode(image, filters, pieces=1, before=b"", interlaced=0, level=6):
    """A PNG file whose rows are filtered as asked for."""
    height, width, channels = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, interlaced)
    if interlaced:
        passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
        parts = [image[top::down, left::right] for top, down, left, right in passes]
        data = b"".join(filtered(part, filters[: len(part)]) for part in parts if part.size)
    else:
        data = filtered(image, filters)
    stream = zlib.compress(data, level)
    cuts = np.linspace(0, len(stream), pieces + 1).astype(int)
    body = b"".join(chunk(b"IDAT", stream[start:end]) for start, end in pairwise(cuts))
    return SIGNATURE + chunk(b"IHDR", header) + before + body + chunk(b"IEND", b"")


def file_of(path, data):
    path.write_bytes(data)
    return PngFile(path)


def decode(file):
    return file.rgb if file.kind == "8-bit RGB" else file.gray


# Whole and in parts

PARTS = [
    (ALL, ALL),
    (slice(0, 1), ALL),
    (slice(3, 9), slice(2, 7)),
    (slice(11, 12), slice(0, 1)),
    (slice(5, 12), slice(8, 9)),
    (slice(7), slice(4, None)),
]
FILTERS = {name: [kind] * 12 for kind, name in enumerate(("none", "left", "up", "average", "paeth"))}
FILTERS |= {"mixed": [4, 2, 0, 4, 3, 1, 2, 2, 4, 3, 0, 4], "last independent": [2] * 11 + [1]}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS)
def test_every_filter(tmp_path, channels, filters):
    image = noise((12, 9, channels))
    data = encode(image, filters)
    # The test's own encoder is right where an independent decoder says so.
    flag = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
    expected = image if channels == 3 else image[..., 0]
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), flag), expected)
    for part in PARTS:
        got = decode(file_of(tmp_path / "x.png", data))(*part)
        np.testing.assert_array_equal(got, expected[part])
        assert got.dtype == np.uint8


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (33, 65)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_sizes(tmp_path, shape, channels):
    image = noise((*shape, *channels))
    file = PngFile(png(tmp_path / "x.png", image))
    assert (file.height, file.width) == shape
    np.testing.assert_array_equal(decode(file)(), image)
    np.testing.assert_array_equal(decode(file)(slice(shape[0] - 1, None), slice(shape[1] - 1, None)), image[-1:, -1:])


@pytest.mark.parametrize("options", [{"pieces": 7}, {"level": 0}, {"before": chunk(b"tEXt", b"a\0b")}])
@pytest.mark.parametrize("channels", [1, 3])
def test_chunks_and_compression_of_other_programs(tmp_path, channels, options):
    image = noise((12, 9, channels))
    expected = image if channels == 3 else image[..., 0]
    got = decode(file_of(tmp_path / "x.png", encode(image, FILTERS["mixed"], **options)))
    np.testing.assert_array_equal(got(slice(3, 9), slice(1, 8)), expected[3:9, 1:8])


@pytest.mark.parametrize("channels", [1, 3])
def test_interlaced_files(tmp_path, channels):
    image = noise((12, 9, channels))
    data = encode(image, FILTERS["none"], interlaced=1)
    expected = image if channels == 3 else image[..., 0]
    np.testing.assert_array_equal(decode(file_of(tmp_path / "x.png", data))(slice(3, 9)), expected[3:9])


def test_rows_of_more_than_64_kib(tmp_path):
    for image in (noise((2, 21_846, 3)), noise((3, 70_000))):
        file = PngFile(png(tmp_path / "x.png", image))
        np.testing.assert_array_equal(decode(file)(slice(1, 2), slice(5, 20_000)), image[1:2, 5:20_000])


def test_transparency_gamma_and_profiles_do_not_touch_the_pixels(tmp_path):
    image = noise((12, 9, 3))
    extras = chunk(b"gAMA", struct.pack(">I", 10_000)) + chunk(b"tRNS", struct.pack(">HHH", *image[0, 0].tolist()))
    got = file_of(tmp_path / "x.png", encode(image, FILTERS["paeth"], before=extras)).rgb()
    np.testing.assert_array_equal(got, image)


def test_other_pixels_become_rgb_but_no_ids(tmp_path):
    wide = noise((6, 5)).astype(np.uint16) * 257
    for array, kind, expected in (
        (noise((6, 5)), "8-bit gray", noise((6, 5))),
        (wide, "16-bit gray", noise((6, 5))),
        (noise((6, 5, 4)), "8-bit RGBA", None),
    ):
        file = PngFile(png(tmp_path / "x.png", array))
        assert (file.height, file.width, file.kind) == (6, 5, kind)
        expected = array[..., :3] if expected is None else np.repeat(expected[..., None], 3, axis=2)
        np.testing.assert_array_equal(file.rgb(), expected)
        np.testing.assert_array_equal(file.rgb(slice(2), slice(1, 4)), expected[:2, 1:4])
        if kind != "8-bit gray":
            with pytest.raises(ValueError, match=f"x.png: expected 8-bit gray pixels, one id each, .* has {kind}"):
                file.gray()


def test_palette_files_are_no_ids(tmp_path):
    data = io.BytesIO()
    Image.fromarray(noise((6, 5)) % 8).convert("P").save(data, "PNG")
    with pytest.raises(ValueError, match="has 8-bit palette pixels"):
        file_of(tmp_path / "x.png", data.getvalue()).gray()


def test_threads_do_not_share_memory(tmp_path):
    images = [noise((200 + 10 * number, 300, 3), number) for number in range(8)]
    files = [PngFile(png(tmp_path / f"{number}.png", image)) for number, image in enumerate(images)]
    with ThreadPoolExecutor(4) as executor:
        for _ in range(5):
            for got, image in zip(executor.map(PngFile.rgb, files), images, strict=True):
                np.testing.assert_array_equal(got, image)


def test_earlier_results_stay_as_they_are(tmp_path):
    one, other = (PngFile(png(tmp_path / f"{seed}.png", noise((50, 40, 3), seed))) for seed in range(2))
    first = one.rgb()
    other.rgb()
    np.testing.assert_array_equal(first, noise((50, 40, 3)))


def test_size_alone_is_read_from_the_header(tmp_path):
    path = png(tmp_path / "x.png", noise((50, 31, 3)))
    path.write_bytes(path.read_bytes()[:33])
    assert png_size(path) == (50, 31)


# Damage


def damaged(data, how):
    if how == "empty":
        return b""
    if how == "truncated":
        return data[: len(data) // 2]
    if how == "zeros":
        return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    if how == "no png":
        return b"GIF89a" + data[6:]
    if how == "huge":
        return data[:16] + (60_000).to_bytes(4, "big") * 2 + data[24:]
    if how == "header":
        return data[:16] + (5).to_bytes(4, "big") + data[20:]
    if how == "a piece missing":
        return data[:200] + data[400:]
    return data[:200] + bytes(reversed(data[200:260])) + data[260:]  # "scrambled"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", "the file is empty"),
        ("truncated", "truncated: the file has no end mark"),
        ("zeros", "truncated: the file has no end mark"),
        ("no png", "not a PNG file"),
        ("huge", "the header claims 60000x60000 pixels, more than the"),
        ("header", "damaged: wrong checksum of the IHDR chunk at byte 8"),
        ("a piece missing", "damaged: "),
        ("scrambled", "damaged: wrong checksum of the IDAT chunk at byte 33"),
        ("missing", "No such file or directory"),
    ],
)
def test_damaged_files_are_named(tmp_path, how, message):
    for array, decoder in ((noise((50, 31, 3)), PngFile.rgb), (noise((50, 31)), PngFile.gray)):
        path = png(tmp_path / "x.png", array)
        path.unlink() if how == "missing" else path.write_bytes(damaged(path.read_bytes(), how))
        with pytest.raises(BrokenImageError, match=f"x.png: {message}") as caught:
            # Damage anywhere counts, also where the pixels asked for are whole.
            decoder(PngFile(path), slice(2), slice(2))
        assert str(path) in str(caught.value)


def rewritten(image, data):
    """A file of right checksums, whatever its stream of pixels holds."""
    height, width, channels = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: zlib.compress(rows[:-40]), "the pixel data ends after 296 of 336 bytes"),
        (lambda rows: zlib.compress(rows)[:-30], "the pixel data ends after [0-9]+ of 336 bytes"),
        (lambda rows: zlib.compress(b"\7" + rows[1:]), "row 0 has the unknown filter 7"),
        (lambda rows: zlib.compress(rows)[:-1] + b"\0", ""),
        (lambda rows: b"no stream", ""),
        (lambda rows: b"", "the pixel data ends after 0 of 336 bytes"),
    ],
)
def test_streams_that_hold_no_picture(tmp_path, change, message):
    image = noise((12, 9, 3))
    file = file_of(tmp_path / "x.png", rewritten(image, change(filtered(image, FILTERS["paeth"]))))
    with pytest.raises(BrokenImageError, match=f"x.png: damaged: .*{message}"):
        file.rgb()


def outcome(path, data, expected):
    """True for the right pixels, False for a refusal; anything else fails."""
    path.write_bytes(data)
    try:
        got = decode(PngFile(path))(slice(1, 8), slice(1, 6))
    except ValueError as error:
        message = str(error)
    else:
        np.testing.assert_array_equal(got, expected[1:8, 1:6])
        return True
    assert message.startswith(str(path))
    return False


@pytest.mark.parametrize("channels", [1, 3])
def test_one_flipped_bit_anywhere_is_found(tmp_path, channels):
    image = noise((12, 9, channels))
    comment = chunk(b"tEXt", b"Software\0a camera")
    data = encode(image, FILTERS["mixed"], pieces=2, before=comment)
    expected = image if channels == 3 else image[..., 0]
    passed = []
    for place in range(len(data)):
        for bit in (1, 7):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            if outcome(tmp_path / "x.png", bytes(flipped), expected):
                passed.append(place)
    # Only the comment may change unnoticed.
    assert passed
    assert set(passed) <= set(range(33, 33 + len(comment)))


def test_every_truncation_is_found(tmp_path):
    image = noise((12, 9, 3))
    data = encode(image, FILTERS["mixed"], pieces=3)
    assert not any(outcome(tmp_path / "x.png", data[:length], image) for length in range(len(data)))


def test_wrong_streams_with_right_checksums_never_end_the_process(tmp_path):
    """What a bad disk cannot do but a bad program can: each gives pixels of the right size or is refused."""
    draw = random.Random(0)
    refused = 0
    for channels in (1, 3):
        image = noise((12, 9, channels))
        stream = zlib.compress(filtered(image, FILTERS["mixed"]), 9)
        for _ in range(300):
            changed = bytearray(stream)
            for _ in range(draw.randint(1, 4)):
                changed[draw.randrange(len(changed))] = draw.randrange(256)
            file = file_of(tmp_path / "x.png", rewritten(image, bytes(changed[: draw.randint(1, 3 * len(changed))])))
            try:
                assert decode(file)().shape[:2] == (12, 9)
            except BrokenImageError:
                refused += 1
    assert refused > 500


def turned_png(path, array, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(array).save(path, exif=exif)
    return path


@pytest.mark.faults
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_all_parts(tmp_path, orientation):
    image = noise((40, 56, 3))
    path = turned_png(tmp_path / "i.png", image, orientation)
    with Image.open(path) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored))
    file, outline = PngFile(path), PngOutline(path)
    assert (file.height, file.width) == (outline.height, outline.width) == upright.shape[:2]
    assert np.array_equal(file.rgb(), upright)
    assert np.array_equal(file.rgb(slice(3, 30), slice(10, 33)), upright[3:30, 10:33])
    gray = PngFile(turned_png(tmp_path / "g.png", image[..., 0], orientation))
    assert np.array_equal(gray.gray(slice(3, 30), slice(10, 33)), upright[3:30, 10:33, 0])
    deep = PngFile(turned_png(tmp_path / "d.png", image[..., 0].astype(np.uint16) * 257, orientation))
    assert np.array_equal(deep.gray16(), upright[..., 0].astype(np.uint16) * 257)


@pytest.mark.faults
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("read", [PngFile, PngOutline])
def test_a_map_drawn_on_stored_pixels_is_turned_with_its_picture(tmp_path, orientation, read):
    values = noise((40, 56))
    picture = read(turned_png(tmp_path / "i.png", np.dstack([values] * 3), orientation))
    label = PngFile(png(tmp_path / "l.png", values))
    label.turn_with(picture)
    assert np.array_equal(label.gray(), PngFile(picture.path).rgb()[..., 0])
    drawn_upright = PngFile(png(tmp_path / "u.png", label.gray()))
    if orientation >= 5:
        drawn_upright.turn_with(picture)
        assert np.array_equal(drawn_upright.gray(), label.gray())

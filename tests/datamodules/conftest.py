"""Videos with frame numbers painted into them, written by PyAV."""

from fractions import Fraction

import av
import numpy as np
import pytest

MILLI = Fraction(1, 1000)


class Videos:
    """Writes videos, and reads numbers off their frames."""

    @staticmethod
    def picture(number, height=48, width=64):
        """Twelve fields, white for a one and black for a zero, on gray."""
        picture = np.full((height, width, 3), 110, np.uint8)
        rows, columns = height // 3, width // 4
        for bit in range(12):
            top, left = bit // 4 * rows, bit % 4 * columns
            picture[top : top + rows, left : left + columns] = 235 if number >> bit & 1 else 20
        return picture

    @staticmethod
    def number(picture):
        """Read it back."""
        rows, columns = picture.shape[0] // 3, picture.shape[1] // 4
        bits = 0
        for bit in range(12):
            y, x = bit // 4 * rows + rows // 2, bit % 4 * columns + columns // 2
            bits |= int(picture[y - 2 : y + 2, x - 2 : x + 2].mean() > 127) << bit
        return bits

    def write(self, path, frames=60, *, times=None, codec="libx264", pixels="yuv420p", size=(48, 64), rotation=0,
              options=None, paint=None, muxer=None):  # fmt: skip
        """Write a video at 25 frames a second, or with a frame at each of `times` (milliseconds)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        muxer = (muxer or {}) | ({"movflags": "faststart"} if path.suffix == ".mp4" else {})
        with av.open(str(path), "w", options=muxer) as container:
            threads = {"threads": "1", "x265-params": "log-level=none"}
            stream = container.add_stream(codec, rate=25, options=threads | (options or {}))
            stream.height, stream.width, stream.pix_fmt = *size, pixels
            stream.codec_context.time_base = Fraction(1, 25) if codec.startswith("mpeg") and times is None else MILLI
            if rotation:
                stream.set_display_rotation(rotation)
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray((paint or self.picture)(number, *size), "rgb24")
                frame.time_base = MILLI
                frame.pts = int(times[number]) if times is not None else 40 * number
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    @staticmethod
    def decoded(path):
        """Everything, in order, by the plainest means."""
        with av.open(str(path)) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])

    @staticmethod
    def write_sound(path):
        """A file with sound alone."""
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path


@pytest.fixture(scope="session")
def videos():
    return Videos()

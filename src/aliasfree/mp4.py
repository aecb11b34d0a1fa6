"""H.264 films by the ffmpeg that `imageio-ffmpeg` brings. Its exit status is checked: a film is whole or an error."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["encode"]


def encode(frames: Iterable[NDArray[np.uint8]], size: tuple[int, int], fps: float, path: Path) -> None:
    """Write uint8 frames (H, W, 3) of even `size` (H, W) to `path`, an .mp4, yuv420p.

    Raises OSError with ffmpeg's own words where it fails, as on a full disk; what is at `path` then is no film.
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    rate = str(Fraction(fps).limit_denominator())
    source = ["-f", "rawvideo", "-vcodec", "rawvideo", "-s", f"{size[1]}x{size[0]}", "-pix_fmt", "rgb24", "-r", rate]
    coded = ["-an", "-vcodec", "libx264", "-pix_fmt", "yuv420p", "-crf", "10", "-v", "error"]
    command = [get_ffmpeg_exe(), "-y", *source, "-i", "-", *coded, str(path)]
    with tempfile.TemporaryFile() as said:
        encoder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
        assert encoder.stdin is not None
        with contextlib.suppress(BrokenPipeError), encoder, encoder.stdin as pipe:
            for frame in frames:
                pipe.write(frame.tobytes())
        if encoder.returncode:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines() or [f"exit {encoder.returncode}"]
            raise OSError(errno.EIO, f"the film was not encoded: {words[-1]}", str(path))

"""Pictures: tensors to pixels, grids, labelled strips, collages, and the files of all these.

Everything here takes and gives plain arrays and PIL images: uint8, (N, H, W, C), C = 1 (grey) or 3 (RGB).
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from aliasfree.errors import ArgumentError, DataError, ShapeError
from aliasfree.files import replacing, together, write_file
from aliasfree.image_files import open_image

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "angle_label",
    "collage",
    "data_uri",
    "gif_bytes",
    "grid",
    "pingpong",
    "png_bytes",
    "save_gif",
    "save_mp4",
    "save_png",
    "strip",
    "to_uint8",
]

Pixels = NDArray[np.uint8]

GAP = 128
"""Grey level of the lines between the cells of a grid and of cells without an image."""


def to_uint8(images: Tensor | NDArray[Any]) -> Pixels:
    """Pixels of images in [-1, 1]: (N, C, H, W) -> uint8 (N, H, W, C).

    Values outside are clipped and the fraction is cut off: trunc((clip(x, -1, 1) + 1) / 2 * 255)
    in float32, as in the published code of arXiv 2411.09174. Raises ShapeError for another rank or number of
    channels and ArgumentError for NaN.

    >>> import torch
    >>> from aliasfree.pictures import to_uint8
    >>> to_uint8(torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 1, 1, 3)).ravel()
    array([  0, 127, 255], dtype=uint8)
    """
    x = images if isinstance(images, np.ndarray) else images.detach().float().cpu().numpy()
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ShapeError(f"expected images (N, C, H, W) with 1 or 3 channels, got shape {tuple(x.shape)}")
    x = x.astype(np.float32, copy=False)
    if np.isnan(x).any():
        raise ArgumentError("the images hold NaN: check that training did not diverge")
    return ((np.clip(x, -1, 1) + 1) / 2 * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def grid(images: Pixels, columns: int | None = None, pad: int = 2, scale: int = 1) -> Image.Image:
    """Images side by side, row after row.

    images   uint8 (N, H, W, C), N >= 1
    columns  None = as square as possible
    pad      pixels between the images, >= 0, not scaled
    scale    every pixel becomes scale x scale, >= 1

    Raises ShapeError or ArgumentError.

    >>> import numpy as np
    >>> from aliasfree.pictures import grid
    >>> grid(np.zeros((4, 8, 8, 1), np.uint8), pad=2, scale=2).size
    (34, 34)
    """
    x = _checked(images)
    n, h, w, c = x.shape
    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    if columns < 1 or pad < 0 or scale < 1:
        raise ArgumentError(f"columns and scale must be >= 1 and pad >= 0, not {columns}, {scale} and {pad}")
    rows = math.ceil(n / columns)
    h, w = h * scale, w * scale
    sheet = np.full((rows * (h + pad) - pad, columns * (w + pad) - pad, c), GAP, np.uint8)
    for k, tile in enumerate(_enlarged(x, scale)):
        top, left = k // columns * (h + pad), k % columns * (w + pad)
        sheet[top : top + h, left : left + w] = tile
    return _image(sheet)


def strip(
    images: Pixels,
    column_labels: Sequence[str],
    row_labels: Sequence[str] | None = None,
    *,
    scale: int = 4,
    pad: int = 2,
) -> Image.Image:
    """A labelled table of images on white: one row a config or seed, one column an angle, as in the paper.

    images uint8 (R, K, H, W, C), or (K, H, W, C) for one row; K column labels, R row labels (None = none).
    Raises ShapeError when the labels do not fit the images.

    >>> import numpy as np
    >>> from aliasfree.pictures import strip
    >>> table = strip(np.zeros((2, 3, 8, 8, 1), np.uint8), ["-45°", "0°", "45°"], ["A", "D-hq"])
    >>> table.mode, table.width > 3 * 32
    ('L', True)
    """
    x = images[None] if images.ndim == 4 else images
    given = (None if row_labels is None else len(row_labels), len(column_labels))
    if x.ndim != 5 or given[1] != x.shape[1] or given[0] not in (None, x.shape[0]):
        raise ShapeError(
            f"a strip needs images (rows, columns, H, W, C) and a label for each row and column, got shape "
            f"{tuple(images.shape)} with {given[0]} row and {given[1]} column labels"
        )
    body = grid(x.reshape(-1, *x.shape[2:]), columns=x.shape[1], pad=pad, scale=scale)
    h, w = x.shape[2] * scale, x.shape[3] * scale
    size = max(9, min(16, w // 4))
    font = ImageFont.load_default(size)
    left = 0 if row_labels is None else 10 + math.ceil(max(font.getlength(label) for label in row_labels))
    top = math.ceil(size * 1.6)
    sheet = Image.new(body.mode, (left + body.width, top + body.height), "white")
    sheet.paste(body, (left, top))
    draw = ImageDraw.Draw(sheet)
    for k, label in enumerate(column_labels):
        draw.text((left + k * (w + pad) + w / 2, top / 2), label, fill="black", font=font, anchor="mm")
    for r, label in enumerate(row_labels or ()):
        draw.text((left - 5, top + r * (h + pad) + h / 2), label, fill="black", font=font, anchor="rm")
    return sheet


def angle_label(degrees: float) -> str:
    """ "-67.5°", "0°", "90°": the column label of an angle.

    >>> from aliasfree.pictures import angle_label
    >>> angle_label(-67.5), angle_label(-0.0)
    ('-67.5°', '0°')
    """
    return f"{round(degrees, 2) + 0.0:g}°"


def collage(images: Pixels | Sequence[str | Path], out: str | Path, *, side: int = 20) -> list[Path]:
    """Many images in large square sheets of side x side, no gaps, filled column by column as the paper's.

    images  uint8 (N, H, W, C), or paths of image files of one size, read sheet by sheet
    out     "runs/x/collage.png" gives collage_0.png, collage_400.png, ... after the first image in each; the
            rest of the last sheet stays black

    Returns the files written. Raises DataError naming a file that cannot be read or has another size.

    >>> import numpy as np
    >>> from aliasfree.pictures import collage
    >>> [path.name for path in collage(np.zeros((5, 8, 8, 3), np.uint8), "collage.png", side=2)]
    ['collage_0.png', 'collage_4.png']
    """
    if side < 1 or not len(images):
        raise ArgumentError("a collage needs at least one image and side >= 1")
    out, written = Path(out), []
    shape: tuple[int, ...] | None = None
    with together():
        for start in range(0, len(images), side * side):
            part = images[start : start + side * side]
            tiles = _checked(part) if isinstance(part, np.ndarray) else _read_all(part, shape)
            shape = tiles.shape[1:]
            h, w, c = shape
            sheet = np.zeros((side * h, side * w, c), np.uint8)
            for k, tile in enumerate(tiles):
                top, left = k % side * h, k // side * w
                sheet[top : top + h, left : left + w] = tile
            path = out.with_name(f"{out.stem}_{start}.png")
            save_png(_image(sheet), path)
            written.append(path)
    return written


def pingpong(frames: Sequence[Image.Image], hold: int = 0) -> list[Image.Image]:
    """There and back again without a jump, the two ends shown `hold` frames longer.

    >>> from PIL import Image
    >>> from aliasfree.pictures import pingpong
    >>> frames = [Image.new("L", (8, 8), level) for level in (0, 100, 200)]
    >>> [frame.getpixel((0, 0)) for frame in pingpong(frames, hold=1)]  # then from the first again
    [0, 0, 100, 200, 200, 100]
    """
    there = [frames[0]] * hold + list(frames) + [frames[-1]] * hold
    return there + list(frames[-2:0:-1])


def png_bytes(image: Image.Image) -> bytes:
    """The image as a PNG file.

    >>> from PIL import Image
    >>> from aliasfree.pictures import png_bytes
    >>> png_bytes(Image.new("L", (8, 8)))[1:4]
    b'PNG'
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def gif_bytes(frames: Sequence[Image.Image], fps: float = 12) -> bytes:
    """The frames as an endless GIF with one palette for all of them, so that nothing flickers.

    Grey frames keep their 256 levels; colour frames with at most 256 colours between them are exact, others
    are reduced to 256 without dithering. GIF counts time in 1/100 s: the time of a frame is rounded to that.
    Raises ShapeError for frames of different sizes, ArgumentError for none or fps outside (0, 100].

    >>> from PIL import Image
    >>> from aliasfree.pictures import gif_bytes
    >>> gif_bytes([Image.new("L", (8, 8), level) for level in (0, 100, 200)])[:6]
    b'GIF89a'
    """
    _check_frames(frames, fps, fastest=100)
    if any(f.mode != "L" for f in frames):
        frames = _one_palette([f.convert("RGB") for f in frames])
    buffer = io.BytesIO()
    rest, ms = list(frames[1:]), 10 * round(100 / fps)
    frames[0].save(buffer, "GIF", save_all=True, append_images=rest, duration=ms, loop=0, optimize=False)
    return buffer.getvalue()


def save_png(image: Image.Image, path: str | Path) -> None:
    """Write a PNG in one go (see `files.replacing`); parent folders are made.

    >>> from PIL import Image
    >>> from aliasfree.pictures import save_png
    >>> save_png(Image.new("L", (8, 8)), "pictures/black.png")
    >>> Image.open("pictures/black.png").size
    (8, 8)
    """
    write_file(path, png_bytes(image))


def save_gif(frames: Sequence[Image.Image], path: str | Path, fps: float = 12) -> None:
    """Write `gif_bytes` in one go; parent folders are made.

    >>> from PIL import Image
    >>> from aliasfree.pictures import save_gif
    >>> save_gif([Image.new("L", (8, 8), level) for level in (0, 100, 200)], "film.gif")
    >>> Image.open("film.gif").n_frames
    3
    """
    write_file(path, gif_bytes(frames, fps))


def save_mp4(frames: Sequence[Image.Image], path: str | Path, fps: float = 24) -> None:
    """Write an H.264 film (yuv420p, plays everywhere) in one go; parent folders are made.

    An odd width or height repeats its last column or row. Raises as `gif_bytes`, fps up to 1000, and OSError where the
    encoder fails (a full disk).

    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from aliasfree.pictures import save_mp4
    >>> save_mp4([Image.new("RGB", (64, 64), (level, 0, 0)) for level in (0, 100, 200)], "film.mp4", fps=12)
    >>> Path("film.mp4").stat().st_size > 0
    True
    """
    from aliasfree.mp4 import encode

    _check_frames(frames, fps, fastest=1000)
    (width, height), odd = frames[0].size, ((0, frames[0].height % 2), (0, frames[0].width % 2), (0, 0))
    pixels = (np.pad(np.asarray(frame.convert("RGB")), odd, "edge") for frame in frames)
    with replacing(path) as aside:
        encode(pixels, (height + height % 2, width + width % 2), fps, aside)


def data_uri(content: Image.Image | bytes, mime: str = "image/png") -> str:
    """A "data:..." address for a page without other files; an image becomes a PNG, bytes stay as they are.

    >>> from aliasfree.pictures import data_uri
    >>> data_uri(b"text", "text/plain")
    'data:text/plain;base64,dGV4dA=='
    """
    data = content if isinstance(content, bytes) else png_bytes(content)
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def _checked(images: Pixels) -> Pixels:
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8 or not len(images):
        raise ShapeError(
            f"expected at least one image, uint8 (N, H, W, C) with 1 or 3 channels, got {images.dtype} "
            f"{tuple(images.shape)}; `to_uint8` makes it from a tensor in [-1, 1]"
        )
    return images


def _enlarged(x: Pixels, scale: int) -> Pixels:
    return x if scale == 1 else x.repeat(scale, axis=1).repeat(scale, axis=2)


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _read_all(paths: Sequence[str | Path], shape: tuple[int, ...] | None) -> Pixels:
    tiles: list[Pixels] = []
    for path in paths:
        try:
            with open_image(path) as image:
                tile = np.asarray(image if image.mode == "L" else image.convert("RGB"))
        except (OSError, SyntaxError) as error:
            raise DataError(f"cannot read the image {path}: leave it out or replace it ({error})") from error
        tile = tile[..., None] if tile.ndim == 2 else tile
        shape = shape or tile.shape
        if tile.shape != shape:
            raise DataError(f"{path} is {tile.shape}, the images before it {shape}: make them one size")
        tiles.append(tile)
    return np.stack(tiles)


def _check_frames(frames: Sequence[Image.Image], fps: float, fastest: int) -> None:
    if not frames or not 0 < fps <= fastest:
        given = f"{len(frames)} frames at {fps} per second"
        raise ArgumentError(f"an animation needs at least one frame and fps in (0, {fastest}], not {given}")
    if len({f.size for f in frames}) > 1:
        raise ShapeError(f"the frames differ in size: {sorted({f.size for f in frames})}")


def _one_palette(frames: list[Image.Image]) -> list[Image.Image]:
    pixels = np.stack([np.asarray(f) for f in frames])
    packed = pixels.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    colours, index = np.unique(packed, return_inverse=True)
    if len(colours) > 256:
        tall = Image.fromarray(pixels.reshape(-1, *pixels.shape[2:])).quantize(256, dither=Image.Dither.NONE)
        palette, index = bytes(tall.getpalette() or b""), np.asarray(tall)
    else:
        palette = b"".join(int(v).to_bytes(3, "big") for v in colours)
    indexed = []
    for plane in index.reshape(packed.shape).astype(np.uint8):
        frame = Image.fromarray(plane)
        frame.putpalette(palette)
        indexed.append(frame)
    return indexed

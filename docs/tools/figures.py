"""The figures of docs/aliasing.md, made by the library: python docs/tools/figures.py [FOLDER]"""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gelu, interpolate, max_pool2d

from aliasfree import downsample2d, filtered_activation2d, translate2d, upsample2d
from aliasfree.files import write_file
from aliasfree.filters import BELOW_NYQUIST, FilterSpec

BLUE, ORANGE, GREY = "#0b5fa5", "#c2410c", "#9ca3af"  # told apart in all common kinds of colour blindness
SIZE = 128


def zone_plate(size: int = SIZE) -> Tensor:
    """Rings whose frequency grows from 0 in the middle to Nyquist at the edge, (1, 1, size, size) in [-1, 1]."""
    at = torch.arange(size) - (size - 1) / 2
    radius = at[:, None] ** 2 + at[None, :] ** 2
    return torch.cos(math.pi * radius / size)[None, None]


def draw_samples(axes: Any) -> None:
    """A wave that every second sample shows as another wave."""
    frequency = 0.8  # of Nyquist
    at, fine = np.arange(0, 21), np.linspace(0, 20, 1000)
    half = at[::2]
    axes.plot(fine, np.cos(np.pi * frequency * fine), color=GREY, linewidth=1.2, label="the wave")
    axes.plot(at, np.cos(np.pi * frequency * at), "o", color=GREY, markersize=5, label="its samples")
    folded = 2 * frequency - 2  # of the new Nyquist, after the fold
    axes.plot(fine, np.cos(np.pi * folded * fine / 2), color=ORANGE, linewidth=1.8, label="what every second one shows")
    axes.plot(half, np.cos(np.pi * frequency * half), "o", color=ORANGE, markersize=7)
    axes.set_xlabel("pixel")
    axes.set_xticks(range(0, 21, 2))
    axes.set_ylim(-1.2, 1.6)
    axes.legend(loc="upper right", ncols=3, frameon=False)


def draw_spectra(axes: Any) -> None:
    """What GELU makes of one wave, with and without filters."""
    cycles = 20  # over SIZE pixels, so 0.31 of Nyquist
    wave = torch.cos(2 * math.pi * cycles * torch.arange(SIZE) / SIZE).repeat(SIZE, 1)[None, None]
    bent = {
        "GELU": (gelu(wave), ORANGE, -0.006),
        "filtered_activation2d(x, \"gelu\", \"hq\")": (
            filtered_activation2d(wave, "gelu", "hq", padding="circular"), BLUE, 0.006,
        ),
    }  # fmt: skip
    frequency = np.arange(SIZE // 2 + 1) / (SIZE // 2)
    for label, (plane, colour, aside) in bent.items():
        power = np.abs(np.fft.rfft(plane[0, 0, 0].numpy())) / SIZE * 2
        level = 20 * np.log10(np.maximum(power, 1e-4))
        strong = level > -78
        axes.vlines(frequency[strong] + aside, -80, level[strong], color=colour, linewidth=4, label=label)
    unit = cycles / (SIZE // 2)
    for at, words in (
        (0.0, "0"),
        (unit, "1x"),
        (2 * unit, "2x"),
        (2 - 4 * unit, "4x, folded"),
        (2 - 6 * unit, "6x, folded"),
    ):
        axes.text(abs(at), 3, words, ha="center", color="#4b5563")
    axes.set_ylim(-80, 12)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("frequency (fraction of Nyquist)")
    axes.set_ylabel("amplitude (dB)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def shrunk(image: Tensor) -> dict[str, Tensor]:
    """Half the size in three ways."""
    return {
        "every second pixel": image[..., ::2, ::2],
        "max pooling": max_pool2d(image, 2),
        'downsample2d(x, "hq")': downsample2d(image, "hq", padding="reflect"),
    }


def draw_planes(axes: Any) -> None:
    """A zone plate at half the size."""
    image = zone_plate()
    for cell, (title, plane) in zip(axes, {"the pattern": image, **shrunk(image)}.items(), strict=True):
        cell.imshow(plane[0, 0], cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        cell.set_title(title, fontsize=11, family="monospace" if "(" in title else None)
        cell.set_xticks([])
        cell.set_yticks([])


def photograph_like(size: int = 256) -> Tensor:
    """Noise with the spectrum of photographs, amplitude 1 / f, without a Nyquist component, (1, 1, size, size)."""
    noise = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    f = torch.fft.fftfreq(size)
    radius = (f[:, None] ** 2 + f[None, :] ** 2).sqrt()
    radius[0, 0] = torch.inf
    radius[size // 2] = radius[:, size // 2] = torch.inf
    return torch.fft.ifft2(torch.fft.fft2(noise) / radius).real


def draw_motion(axes: Any) -> None:
    """How much a plane that goes down and up again depends on where the pixel grid lies."""
    image, shifts, inside = photograph_like(), np.linspace(0, 2, 33), (..., slice(32, -32), slice(32, -32))

    def filtered(name: FilterSpec | str) -> Any:
        return lambda x: upsample2d(downsample2d(x, name, padding="circular"), name, padding="circular")

    ways = {
        "max pooling, bilinear": (lambda x: interpolate(max_pool2d(x, 2), scale_factor=2, mode="bilinear"), ORANGE),
        "hq": (filtered("hq"), BLUE),
        "ideal": (filtered("ideal"), GREY),
        "ideal, nothing at Nyquist (Config T)": (filtered(BELOW_NYQUIST), "#111827"),
    }
    for label, (way, colour) in ways.items():
        still = way(image)
        share = []
        for shift in shifts.tolist():
            back = translate2d(way(translate2d(image, 0.0, shift)), 0.0, -shift)
            share.append(float((back - still)[inside].square().sum() / still[inside].square().sum()) ** 0.5)
        axes.plot(shifts, 100 * np.array(share), color=colour, linewidth=2, label=label)
    axes.set_xlabel("the input moves by (pixels)")
    axes.set_ylabel("change of the result (%)")
    axes.set_ylim(bottom=-0.2)
    axes.legend(frameon=False)


def save(path: Path, draw: Any, columns: int = 1, size: tuple[float, float] = (8, 3)) -> None:
    """A figure as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns)
    draw(axes)
    for cell in np.atleast_1d(axes):
        cell.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_file(path, buffer.getvalue())


def main(folder: Path) -> None:
    """All figures."""
    save(folder / "aliasing-samples.png", draw_samples, size=(8, 2.6))
    save(folder / "aliasing-planes.png", draw_planes, 4, (11, 3.1))
    save(folder / "aliasing-activation.png", draw_spectra, size=(8, 3.2))
    save(folder / "aliasing-motion.png", draw_motion, size=(8, 3.2))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "pictures")

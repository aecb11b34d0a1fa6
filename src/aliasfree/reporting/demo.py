"""The demo's report.html: what was seen, in pictures, numbers and words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from aliasfree import pictures
from aliasfree.files import together, write_file, write_json
from aliasfree.reporting import html
from aliasfree.reporting.charts import learning_curves
from aliasfree.reporting.film import FPS, film_frames, film_shifts, film_strip
from aliasfree.reporting.html import Html
from aliasfree.reporting.runs import measured_section
from aliasfree.results.demo import ConfigResult, DemoResult, Pixels, facts

__all__ = ["report_files", "write_report"]

TARGET = 0.6
"""From this share of accepted samples on, the headline says that a network makes digits."""


def report_files(out: Path, configs: Sequence[str]) -> list[Path]:
    """What `write_report` writes for these configs."""
    films = [out / f"rotation-{name}{suffix}" for name in configs for suffix in (".gif", ".png")]
    return [out / "film.gif", *films, out / "demo.json", out / "report.html"]


def write_report(result: DemoResult, out: Path) -> Path:
    """Write the film, rotation-NAME.gif and .png for each config, demo.json, last report.html; gives its path."""
    moving = _moving(result)
    with together():
        write_file(out / "film.gif", moving)
        films = {c.name: _film(c.film) for c in result.configs}
        for config in result.configs:
            write_file(out / f"rotation-{config.name}.gif", films[config.name])
            labels = [pictures.angle_label(a) for a in result.angles]
            pictures.save_png(pictures.strip(_strip(config, result), labels), out / f"rotation-{config.name}.png")
        write_json(out / "demo.json", facts(result), indent=2)
        path = out / "report.html"
        write_file(path, compose(result, films, moving))
    return path


def compose(result: DemoResult, films: dict[str, bytes], moving: bytes) -> str:
    """The page as text; `films` holds a GIF of turning digits for each config, `moving` is that of sub-pixel motion."""
    return html.page(
        "aliasfree demo",
        _headline(result),
        _lead(result),
        _moved(result, moving),
        _strips(result),
        _films(result, films),
        _samples(result),
        _about(result),
        *([measured_section(result.metrics)] if result.metrics else []),
        _training(result),
        _numbers(result),
        footer="Written by aliasfree " + result.versions.get("aliasfree", "") + "; nothing on this page is loaded "
        "from elsewhere. Rotation-controlled sampling and Config A: arXiv 2411.09174.",
    )


def percent(share: float | None) -> str:
    """ "71 %", with a space that does not break; "none" when there was nothing to take a share of."""
    return "none" if share is None else f"{100 * share:.0f}\u00a0%"


def uncertainty(share: float, n: int) -> int:
    """Two standard errors of a share of n, in points; of a share of 0 or 1 as if one more had gone the other way."""
    inside = min(max(share, 1 / (n + 2)), 1 - 1 / (n + 2))
    return round(200 * math.sqrt(inside * (1 - inside) / n))


def duration(seconds: float) -> str:
    """ "42 s", "3 min 05 s" """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _each(result: DemoResult, shares: Sequence[float | None]) -> str:
    return _listed([f"{percent(s)} of {_name(c)}'s" for s, c in zip(shares, result.configs, strict=True)])


def _listed(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c" """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _name(config: ConfigResult) -> str:
    return "Config\u00a0" + config.name.replace("-", "\u2011")  # no line breaks within


def _headline(result: DemoResult) -> str:
    accepted = _each(result, [c.accepted for c in result.configs])
    worst, best = min(c.accepted for c in result.configs), max(c.accepted for c in result.configs)
    many = {1: "The network makes", 2: "Both networks make"}.get(len(result.configs), "All networks make")
    if worst >= TARGET:
        return f"{many} digits: a classifier accepts {accepted} samples"
    if best >= TARGET:
        return f"Not every network makes digits yet: a classifier accepts {accepted} samples"
    return f"These are hardly digits yet: a classifier accepts only {accepted} samples"


def _lead(result: DemoResult) -> str:
    s = result.settings
    trained = _listed([duration(c.training_seconds) for c in result.configs])
    return (
        f"Trained for {trained} on {result.images:,} scanned digits of {s.image_size}x{s.image_size} pixels, with "
        f"{result.threads} threads. The classifier accepts a sample when it gives one digit at least {s.confidence:g}; "
        f"it gets {100 * result.accuracy:.1f} % of {result.tested_on} digits right that it has not seen."
    )


def _moved(result: DemoResult, moving: bytes) -> Html:
    s, shifts = result.settings, film_shifts(result.settings.frames, result.settings.travel)
    found = [(c, c.sampler.motions[0].eq_t_frac) for c in result.configs]
    dbs = _listed([f"{e.value:.0f}\u00a0dB for {_name(c)}" for c, e in found if e is not None])
    strip = film_strip([c.shifted for c in result.configs], shifts)
    return html.section(
        "The noise moves by fractions of a pixel: does the image?",
        html.text(
            f"Each of {s.frames} frames is sampled by itself, from noise that has moved a little further to the "
            f"right, by {s.travel:g} pixels in all. A network without aliases makes the same image, moved. One that is "
            "tied to the pixel grid draws another: edges stick to pixels, then jump, and the digit stays in the "
            "middle. In the last column a patch is moved back and enlarged; the better the network, the stiller it "
            "stands."
        ),
        html.text(
            f"Over {s.moved} samples the image of moved noise agrees with the moved image to {dbs}; 20 dB more is a "
            "tenth of the error."
        ),
        html.figure(
            html.picture(moving, "the networks' images while their noise moves", mime="image/gif", width=760),
            f"The first {s.film_images} seeds, not chosen. Beside each name: how well its film agrees with its first "
            "frame.",
        ),
        html.figure(
            html.chart(strip, "patches of some frames, and a line of pixels over time"),
            "Patches of five frames, moved back. Last: one line of pixels, a row a frame, time running down. What "
            "moves draws slanted lines, what sticks to the grid upright ones.",
        ),
    )


def _samples(result: DemoResult) -> Html:
    shown = 60
    blocks = [
        html.figure(
            html.picture(_enlarged(c.samples[:shown], 10), f"{shown} samples of {_name(c)}", width=480),
            f"{_name(c)}: the first {shown} of {len(c.samples)} samples, not chosen. Accepted: {percent(c.accepted)}; "
            f"as the digit asked for: {percent(c.as_asked)}.",
        )
        for c in result.configs
    ]
    s = result.settings
    return html.section(
        "Upright samples",
        html.text(
            f"The same seeds in all networks, so each place in one grid began from the same noise as the same place "
            f"in the others. Every column was asked to be one digit, 0 to 9. Sampled in {s.sampling_steps} steps "
            f"({s.scheduler}) with classifier-free guidance of {s.guidance:g}."
        ),
        html.row(*blocks),
    )


def _strips(result: DemoResult) -> Html:
    labels = [pictures.angle_label(a).replace("-", "−") for a in result.angles]
    low, high = (percent(share) for share in result.settings.window)
    when = f"all at once when {low} of sampling is done" if low == high else f"between {low} and {high} of sampling"

    def strips(ours: bool) -> Html:
        groups = []
        for seed in range(result.settings.strip_seeds):
            group = []
            for c in result.configs:
                images = _strip(c, result)[seed] if ours else c.paper_strip[seed]
                image = pictures.grid(images, columns=len(images), pad=4, scale=6)
                group.append((c.name, image, f"{_name(c)}, seed {seed}, at {len(images)} angles"))
            groups.append(group)
        return html.angle_table(labels, groups)

    return html.section(
        "Turned while they are sampled",
        html.text(
            "Every column asks for another angle: the image is turned before it is finished, so the network has to go "
            "on with a drawing that has turned under its hands. Follow a row from left to right. At best "
            "the same digit turns with the angle; a network that is tied to the pixel grid redraws it, often as "
            "another digit that is upright."
        ),
        html.text(
            f"Of the upright samples the classifier accepts, {_each(result, [c.kept for c in result.configs])} are the "
            f"same digit to it when turned by 90° while sampled and then turned back; by the paper's way of turning, "
            f"{_each(result, [c.paper_kept for c in result.configs])}."
        ),
        html.figure(
            strips(ours=True),
            f"Our way: turned by Fourier shears, which keep white noise white, with noise that turns along, {when}; "
            "the frame of Config T turns too. One seed a group of rows.",
        ),
        html.figure(
            strips(ours=False),
            "The paper's way, the same seeds: turned by periodic cubic splines over all sampling steps, with "
            "independent noise.",
        ),
    )


def _films(result: DemoResult, films: dict[str, bytes]) -> Html:
    blocks = [
        html.figure(
            html.picture(films[c.name], f"{_name(c)} turning from -90 to 90 degrees", mime="image/gif", width=480),
            f"{_name(c)}: {result.settings.film_seeds} seeds from −90° to 90° and back. Stays the same digit at 90°: "
            f"{percent(c.kept)}.",
        )
        for c in result.configs
    ]
    return html.section("In motion", html.row(*blocks))


def _about(result: DemoResult) -> Html:
    s, first = result.settings, result.configs[0]
    upright = uncertainty(first.accepted, s.samples)
    turned = uncertainty(first.kept if first.kept is not None else 0.5, max(1, round(first.accepted * s.turned)))
    return html.section(
        "What alias-free means, and what to look at",
        html.text(
            "A grid of pixels can only carry frequencies up to half its sampling rate. Whenever a network halves its "
            "resolution or bends a signal with a nonlinearity, higher ones arise; unless they are filtered out, they "
            "fold back as false low ones. That is aliasing. It ties details to the pixel grid, so they stick, flicker "
            "or change when the picture moves."
        ),
        html.text(
            "Config A is an ordinary UNet: max pooling, bilinear upsampling, plain activations, zeros at the border. "
            "Config T low-pass filters below the Nyquist frequency at every change of resolution and around every "
            "activation, has attention that commutes with shifts and a plane without an edge, and sees its frame: "
            "coordinates that move with the picture. Both are trained around the same optimal linear predictor with "
            "the same weights of the loss, so what differs is the layers."
        ),
        html.text(
            f"Read small differences with care. With {s.samples} samples the share accepted is known to about "
            f"±{upright} points, with {s.turned} turned images the share that stays the same to about ±{turned}. "
            "Minutes of training do not rank architectures. Config T is made for shifts: its 3x3 convolutions do not "
            "turn, and it has seen upright digits alone."
        ),
    )


def _training(result: DemoResult) -> Html:
    window = max(1, result.settings.steps // 30) | 1
    drawn = learning_curves([(c.name, c.steps, c.losses) for c in result.configs], smooth=window)
    return html.section(
        "Training",
        html.figure(
            html.chart(drawn, "loss over training step"),
            f"The loss of every step, pale, and its mean over {window} steps. A loss of 1 is that of a network that "
            "predicts no noise at all. The axis is logarithmic.",
        ),
    )


def _numbers(result: DemoResult) -> Html:
    s, configs = result.settings, result.configs
    measured = [
        ("weights", [f"{c.parameters:,}" for c in configs]),
        ("training", [duration(c.training_seconds) + (" (earlier)" if c.reused else "") for c in configs]),
        ("images per second", [f"{s.batch_size * len(c.steps) / c.training_seconds:,.0f}" for c in configs]),
        ("loss, last 100 steps", [f"{c.losses[-100:].mean():.4f}" for c in configs]),
        (f"{s.samples} samples", [duration(c.sampling_seconds) for c in configs]),
        (f"accepted at ≥ {s.confidence:g}", [percent(c.accepted) for c in configs]),
        ("accepted as the digit asked for", [percent(c.as_asked) for c in configs]),
        ("same digit at 90°, our way", [percent(c.kept) for c in configs]),
        ("same digit at 90°, the paper's way", [percent(c.paper_kept) for c in configs]),
    ]
    judge = [
        ("right on held-out digits", f"{100 * result.accuracy:.1f} % of {result.tested_on}"),
        ("accepts of those digits", percent(result.real_accepted)),
        ("accepts of white noise", percent(result.noise_accepted)),
    ]
    values = [
        ("data", f"scikit-learn digits, {result.images:,} images at {s.image_size}x{s.image_size}"),
        ("network", f"width {s.base_channels}, seed {s.seed}, {s.preconditioning} preconditioning"),
        (
            "training",
            f"{s.steps:,} steps of {s.batch_size} images, AdamW {s.lr:g}, averaged weights {s.ema_decay:g}, "
            f"loss weighting {s.loss_weighting:g}",
        ),
        ("sampling", f"{s.scheduler}, {s.sampling_steps} steps, guidance {s.guidance:g}"),
        ("processor", f"{result.threads} threads"),
        ("this call", duration(result.seconds)),
        *((name, version) for name, version in result.versions.items()),
    ]
    digits = [(c.name, *map(str, c.classes)) for c in configs]
    return html.section(
        "Settings, timings and measurements",
        html.table(["", *map(_name, configs)], [(name, *cells) for name, cells in measured]),
        html.table(["accepted as", *map(str, range(10))], digits, "Accepted samples of each digit"),
        html.row(
            html.table(["the classifier", ""], judge),
            html.table(["setting", ""], values),
        ),
    )


def _strip(config: ConfigResult, result: DemoResult) -> Pixels:
    """The strip's angles and seeds out of the film: (seeds, angles, H, W, C)."""
    every = (result.settings.film_angles - 1) // (result.settings.strip_angles - 1)
    return config.film[: result.settings.strip_seeds, ::every]


def _enlarged(images: Pixels, columns: int) -> Image.Image:
    return pictures.grid(images, columns=columns, pad=3, scale=4)


def _moving(result: DemoResult) -> bytes:
    return pictures.gif_bytes(pictures.pingpong(film_frames([c.shifted for c in result.configs])), fps=FPS)


def _film(film: Pixels) -> bytes:
    """Seeds (S, F, H, W, C) in a square, there and back."""
    frames = [pictures.grid(film[:, k], pad=3, scale=8) for k in range(film.shape[1])]
    return pictures.gif_bytes(pictures.pingpong(frames, hold=5), fps=10)

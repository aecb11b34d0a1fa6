"""What `aliasfree analyze` found, as a page: which layer of a network aliases, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aliasfree.reporting import html
from aliasfree.reporting.charts import aliasing_spectra
from aliasfree.reporting.html import Html

if TYPE_CHECKING:
    from aliasfree.evaluation.aliasing import Aliasing, LayerAliasing

__all__ = ["advice", "compose", "db", "equivariance", "layer_table", "percent"]

SPECTRA = 6
"""How many of the guiltiest layers have their spectra drawn."""


def advice(layer: LayerAliasing) -> str:
    """What would remove most of a layer's aliases."""
    if layer.kind == "activation":
        if layer.nyquist_gain is None and "Filtered" not in layer.type:
            return "evaluate it at twice the rate between low-passes (letter C, D)"
        return "a higher rate than 2x, a cutoff below half of it, or more taps"
    if layer.kind == "down":
        if layer.dc_gain is None or layer.nyquist_gain is None or layer.nyquist_gain > abs(layer.dc_gain) / 2:
            return "low-pass before the samples are dropped (letter B, D)"
        return "a cutoff further below the new Nyquist frequency, or more taps"
    if layer.kind == "up":
        if layer.nyquist_gain is not None and layer.nyquist_gain > 0.01:
            return "a filter whose four phases have equal gain"
        return "a sharper interpolation: more taps, pixel-centred (hq)"
    return "filter the nonlinearity inside, and norms with global statistics"


def compose(
    found: Aliasing, network: str, images: str, films: Sequence[tuple[LayerAliasing, bytes]], seconds: float
) -> str:
    """The page as text: of a `network` and the `images` it saw, in words, with a `film` of the guiltiest layers."""
    worst = found.layers[0]
    return html.page(
        f"aliasing of {network}",
        f"{network}: {db(found.eq_r if found.by == 'turns' else found.eq_t_frac)} under {_motion(found)}, "
        f"{db(found.periodic)} without borders, "
        f"{percent(worst.guilt)} of that error from {worst.name}",
        f"Measured on {images}. Guilt is the share of the network's error under {_motion(found)} "
        f"that goes when one layer is replaced by its alias-free counterpart, which looks at {found.rate} times the "
        "resolution; all with periodic padding, so that borders have no part in it.",
        _totals(found),
        _layers(found),
        _films(films),
        _spectra(found),
        footer=f"Written by aliasfree in {seconds:.0f} s; nothing on this page is loaded from elsewhere.",
    )


def db(value: float | None) -> str:
    """ "14.1 dB", with a space that does not break; "exact" for inf (no error), "none" for -inf (no signal), "–" for
    what was not measured."""
    if value is None:
        return "–"
    if value == -math.inf:
        return "none"
    return "exact" if value == math.inf else f"{value:.1f}\u00a0dB".replace("-", "−")


def equivariance(found: Aliasing) -> str:
    """The network's own figures in words."""
    eq_r = "" if found.eq_r is None else f", EQ-R {db(found.eq_r)} (any angle)"
    frac = f"EQ-T_frac {db(found.eq_t_frac)} (fractions of them; {db(found.eq_t_lanczos)} by StyleGAN3's ruler)"
    return f"EQ-T {db(found.eq_t)} (whole pixels), {frac}{eq_r}"


def percent(share: float | None) -> str:
    """ "12.3 %", with a space that does not break and no minus before 0.0; "–" for what was not measured."""
    if share is None:
        return "–"
    return f"{round(100 * share, 1) + 0.0:.1f}\u00a0%".replace("-", "−")


def _motion(found: Aliasing) -> str:
    return "turns by any angle" if found.by == "turns" else "shifts by fractions of a pixel"


def _totals(found: Aliasing) -> Html:
    rows = [("as it is", db(found.eq_t_frac), "")]
    if found.periodic != found.eq_t_frac:
        rows.append(("with periodic padding", db(found.periodic), ""))
    for kind, alone in found.alone.items():
        rows.append((f"{kind} replaced", db(found.without[kind]), db(alone)))
    rows.append(("all replaced", db(found.without["all"]), ""))
    return html.section(
        "What holds the network back",
        html.text(f"As it is: {equivariance(found)}."),
        html.text(
            f"How well the output follows an input under {_motion(found)}. 20 dB more is a "
            "tenth of the error. The last column keeps the layers of one kind and replaces all others: what that "
            "kind would allow if it were the only fault."
        ),
        html.table(["", "EQ-R" if found.by == "turns" else "EQ-T_frac", "only these left as they are"], rows),
    )


def layer_table(found: Aliasing) -> Html:
    """A row a layer, the guiltiest first."""
    rows: list[tuple[str, ...]] = []
    for layer in found.layers:
        gains = [
            "–" if g is None else f"{abs(g) if abs(g) < 5e-4 else g:.3f}" for g in (layer.dc_gain, layer.nyquist_gain)
        ]
        shape = "×".join(map(str, layer.input_shape))
        cells = (layer.name, layer.type, shape, percent(layer.guilt), db(layer.fixed_db))
        rows.append((*cells, db(layer.alias_db), *gains))
    return html.table(
        ("layer", "type", "input", "guilt", "network if fixed", "aliases", "DC gain", "Nyquist gain"), rows
    )


def _layers(found: Aliasing) -> Html:
    cures: dict[str, list[LayerAliasing]] = {}
    for layer in found.layers:
        cures.setdefault(advice(layer), []).append(layer)
    shares = {cure: percent(sum(layer.guilt or 0.0 for layer in kin)) for cure, kin in cures.items()}
    return html.section(
        "Layers, the guiltiest first",
        html.text(
            "Aliases: their energy at the layer's output relative to what the alias-free counterpart gives. Nyquist "
            "gain: what is left of the highest frequency; for upsampling, the checkerboard a constant gets. “#2” is "
            "the second call of the same module in one pass."
        ),
        layer_table(found),
        html.table(
            ["what would help", "share of the error", "layers"],
            [(cure, shares[cure], ", ".join(layer.name for layer in kin)) for cure, kin in cures.items()],
        ),
    )


def _films(films: Sequence[tuple[LayerAliasing, bytes]]) -> Html:
    blocks = [
        html.figure(
            html.picture(film, f"feature map of {layer.name} while its input moves", mime="image/gif", width=320),
            f"{layer.name}: left the layer, right its alias-free counterpart.",
        )
        for layer, film in films
    ]
    return html.section(
        "Feature maps while the input moves by one pixel",
        html.text(
            "Each frame moves the layer's input a little further and moves its output back. Whatever changes is tied "
            "to the pixel grid; a layer without aliases gives a still picture. The channel with the strongest aliases "
            "is shown."
        ),
        html.row(*blocks),
    )


def _spectra(found: Aliasing) -> Html:
    blocks = []
    for layer in found.layers[:SPECTRA]:
        drawn = aliasing_spectra(layer.frequency, layer.signal, layer.alias, layer.name)
        chart = html.chart(drawn, f"spectra of {layer.name}")
        blocks.append(html.figure(chart, f"{layer.name} ({layer.type})"))
    return html.section(
        "Spectra of the guiltiest layers' outputs",
        html.text("Radial means of the power at the layer's output: what belongs there, and what was folded there."),
        html.row(*blocks, wide=True),
    )

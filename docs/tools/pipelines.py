"""The tables of docs/pipelines.md, made by looking at diffusers' pipelines: python docs/tools/pipelines.py"""

from __future__ import annotations

import inspect
from collections import defaultdict
from pathlib import Path

import diffusers

from aliasfree.diffusion.layouts import keeps_images_upright, layout_of, refusal
from aliasfree.files import write_file

BEGIN, END = "<!-- made by docs/tools/pipelines.py -->", "<!-- end -->"
MORE_PACKAGES = ("AudioDiffusion", "ConsisID", "Kolors", "Spectrogram", "Onnx", "StableDiffusionOnnx")
"""Beginnings of names that diffusers exports only where more packages are installed."""
GROUPS = {
    ("planes", False): "planes (N, C, H, W)",
    ("planes", True): "planes, with a mask",
    ("packed", False): "packed into tokens",
    ("packed", True): "packed into tokens, with a mask",
}


def exported() -> dict[str, type]:
    """The classes of pipelines by name."""
    found = {}
    for name in sorted(dir(diffusers)):
        if "Pipeline" not in name or name.startswith(("DiffusionPipeline", *MORE_PACKAGES)):
            continue
        kind = getattr(diffusers, name)
        if inspect.isclass(kind) and issubclass(kind, diffusers.DiffusionPipeline):
            found[name] = kind
    return found


def short(names: list[str]) -> str:
    """Names without what all of them end with."""
    return ", ".join(f"`{name.removesuffix('Pipeline')}`" for name in names)


def tables() -> str:
    """What is supported and what is refused, as Markdown."""
    taken, refused = defaultdict(list), defaultdict(list)
    kinds = exported()
    for name, kind in kinds.items():
        why = refusal(kind)
        if why is None:
            taken[layout_of(kind), keeps_images_upright(kind)].append(name)
        else:
            refused[why].append(name)
    called = sum("callback_on_step_end" in inspect.signature(kind.__call__).parameters for kind in kinds.values())
    count = sum(map(len, taken.values()))
    lines = [
        f"Of the {len(kinds)} pipelines that diffusers {diffusers.__version__} exports, {called} take "
        f"`callback_on_step_end`; motion is for {count} of these. The names here end in `Pipeline`.",
        "",
        "| latents | | pipelines |",
        "| --- | --- | --- |",
        *(f"| {title} | {len(taken[group])} | {short(taken[group])} |" for group, title in GROUPS.items()),
        "",
        "The others are refused with the reason, as the rest of a sentence about them:",
        "",
        "| it ... | | pipelines |",
        "| --- | --- | --- |",
        *(
            f"| {why} | {len(names)} | {short(names)} |"
            for why, names in sorted(refused.items(), key=lambda x: len(x[1]))
        ),
    ]
    return "\n".join(lines)


def renewed(page: str) -> str:
    """A page with its tables as they are now."""
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}\n{tables()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    at = Path(__file__).parents[1] / "pipelines.md"
    write_file(at, renewed(at.read_text(encoding="utf-8")).encode())

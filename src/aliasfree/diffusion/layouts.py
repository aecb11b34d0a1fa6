"""How diffusers' pipelines keep their latents: which are images, and how they become planes (N, C, H, W) and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor

from aliasfree.errors import ArgumentError, ShapeError

__all__ = ["LAYOUTS", "Layout", "keeps_images_upright", "layout_of", "refusal"]

PLANES, PACKED = LAYOUTS = ("planes", "packed")

_VIDEO = ("num_frames", "frames", "video", "video_length", "control_video", "pose_video")
_IMAGE = ("height", "image", "image_embeddings")
_MASKS = ("mask_image", "mask", "control_mask")
OWN_WAYS = {
    "Ideogram4Pipeline": "keeps tokens and has no _pack_latents that tells where they lie",
    "JoyImageEditPlusPipeline": "keeps the patches of several images of different sizes in one list",
    "LEditsPPPipelineStableDiffusion": "puts in noise it found by inversion and masks from the network's attention",
    "LEditsPPPipelineStableDiffusionXL": "puts in noise it found by inversion and masks from the network's attention",
    "SanaSprintImg2ImgPipeline": "gives the prediction of its last step, which it shows to no callback",
    "SanaSprintPipeline": "gives the prediction of its last step, which it shows to no callback",
    "VisualClozeGenerationPipeline": "keeps a grid of several images",
    "VisualClozePipeline": "keeps a grid of several images",
}
"""What cannot be read from a pipeline's functions."""

TAKES_NOTHING_BACK = ("PRXPipeline", "PRXPixelPipeline")
"""Pipelines that call a callback and go on with the tensors they had: these are overwritten."""


def _arguments(function: Any) -> dict[str, Parameter]:
    return dict(signature(function).parameters)


def refusal(kind: type) -> str | None:
    """Why motion is not for this class of pipelines, as the rest of a sentence about it; None = it is."""
    given = _arguments(kind.__call__)
    if "callback_on_step_end" not in given:
        return "takes no callback_on_step_end, so nothing can be moved between its steps"
    if "prior_callback_on_step_end" in given:
        return "samples by two other pipelines, which call the callback themselves"
    for parent in kind.__mro__:
        if parent.__name__ in OWN_WAYS:
            return OWN_WAYS[parent.__name__]
    if any(name in given for name in _VIDEO):
        return "makes videos"
    if "latents" not in getattr(kind, "_callback_tensor_inputs", ()) or not any(name in given for name in _IMAGE):
        return "samples no latents of images"
    packer = _packer(kind)
    if packer is not None and "layers" in _arguments(packer):
        return "packs several layers of an image into one list of tokens"
    return None


def layout_of(kind: type, given: str | None = None) -> str:
    """Of the latents of a class of pipelines: `PLANES`, or `PACKED` into tokens.

    given   what the user says it is; None = found from the class's own functions
    Raises ArgumentError with the reason for a class that motion is not for.
    """
    if given is not None:
        return given
    why = refusal(kind)
    if why is not None:
        raise ArgumentError(
            f"{kind.__name__} cannot be moved, because it {why}; if its latents are planes (N, C, H, W) or packed two "
            f"by two, MotionCallback(layout='planes') or 'packed' tries it, and AliasFreePipeline is for unconditional "
            f"models"
        )
    return PLANES if _packer(kind) is None else PACKED


def keeps_images_upright(kind: type) -> bool:
    """Whether a class of pipelines takes a mask, and so may put parts of an image back at every step."""
    return any(name in _arguments(kind.__call__) for name in _MASKS)


def _packer(kind: Any, verb: str = "pack") -> Callable[..., Tensor] | None:
    """A pipeline's own function from planes to tokens, or with "unpack" from tokens to planes."""
    names = (f"_{verb}_latents_no_patch", f"_{verb}_latents")
    return next((getattr(kind, name) for name in names if hasattr(kind, name)), None)


def _pixels(pipeline: Any) -> float | None:
    """How many pixels wide an autoencoder's pixel is, as a pipeline tells it in one way or another."""
    resolution = getattr(pipeline.config, "resolution_multiple", None)  # of a prior
    if resolution is not None:
        return float(resolution)
    levels = getattr(getattr(getattr(pipeline, "vqgan", None), "config", None), "levels", None)
    if levels is not None:
        return float(2**levels)
    for name in ("vae_scale_factor", "vae_scale_factor_spatial", "movq_scale_factor"):
        found = getattr(pipeline, name, None)
        if found is not None:
            return float(found)
    return None


class Layout:
    """Of the latents of one run, and of what else its networks are given in the same layout.

    pipeline   asked for its own `_pack_latents` and `_unpatchify_latents`
    latents    (N, C, H, W); one frame (N, C, 1, H, W), (N, images, C, 1, H, W) or channels last (N, 1, H, W, C);
               tokens (N, count, C)
    size       (height, width) of the image in pixels, for tokens; None = square

    Raises ShapeError for other latents.
    """

    def __init__(self, pipeline: Any, latents: Tensor, name: str, size: Sequence[int] | None) -> None:
        wanted = (3,) if name == PACKED else (4, 5, 6)
        if latents.ndim not in wanted or (
            latents.ndim > 4 and 1 not in (latents.shape[-3], latents.shape[1] if latents.ndim == 5 else 0)
        ):
            axes = "3 axes" if name == PACKED else "4 axes, or one frame"
            raise ShapeError(f"latents of layout {name!r} have {axes}, not the shape {tuple(latents.shape)}")
        self.pipeline, self.count = pipeline, latents.shape[1]
        self._places: dict[int, tuple[tuple[int, int, int], Tensor]] = {}
        self.is_tokens = name == PACKED
        self.grid = self._grid(size) if self.is_tokens else (0, 0)
        self._patched = False
        kept = getattr(getattr(getattr(pipeline, "vae", None), "config", None), "latent_channels", None)
        if kept and all(hasattr(pipeline, f"_{name}_latents") for name in ("patchify", "unpatchify")):
            self._patched = self.planes(latents).shape[1] == 4 * kept  # two by two of its latents in one, as in Flux 2
        planes = self.planes(latents)
        self.channels, self.size = planes.shape[1], planes.shape[-2:]

    def planes(self, x: Tensor) -> Tensor:
        """As (N, C, H, W)."""
        if x.ndim == 3:
            shape, places = self._order(x)
            back = torch.empty_like(places)
            back[places] = torch.arange(len(places), device=places.device)
            flat = x.reshape(len(x), -1)[:, back]
            found = flat.reshape(len(x), *shape)
        elif x.ndim == 4:
            found = x
        elif x.ndim == 5 and x.shape[1] == 1:
            found = x[:, 0].permute(0, 3, 1, 2)
        else:
            found = x.reshape(len(x), -1, *x.shape[-2:])
        return self.pipeline._unpatchify_latents(found) if self._patched else found

    def back(self, planes: Tensor, like: Tensor) -> Tensor:
        """In the layout of `like`, from its planes."""
        found = self.pipeline._patchify_latents(planes) if self._patched else planes
        if like.ndim == 3:
            _, places = self._order(like)
            return found.reshape(len(like), -1)[:, places].reshape(like.shape)
        if like.ndim == 5 and like.shape[1] == 1:
            return found.permute(0, 2, 3, 1)[:, None]
        return found.reshape(like.shape)

    def pixels(self) -> float:
        """How many pixels of the image one of the planes is wide. Raises ArgumentError when the pipeline does not
        tell."""
        for part in ("vae", "movq") if self._patched or _pixels(self.pipeline) is None else ():
            blocks = getattr(getattr(getattr(self.pipeline, part, None), "config", None), "block_out_channels", None)
            if blocks is not None:
                return float(2 ** (len(blocks) - 1))
        scale, unpack = _pixels(self.pipeline), _packer(self.pipeline, "unpack")
        if scale is None:
            raise ArgumentError(
                f"{type(self.pipeline).__name__} does not tell how many pixels one of its latents stands for"
            )
        if not self.is_tokens or unpack is None:
            return scale
        for cell in (scale, 2 * scale):  # of a token; its own function knows
            height, width = (int(side * cell) for side in self.grid)
            values = {"height": height, "width": width, "vae_scale_factor": int(scale), "patch_size": 2}
            known = {name: values[name] for name in _arguments(unpack) if name in values}
            try:
                planes = unpack(torch.zeros(1, self.count, 4 * self.channels), **known)
            except RuntimeError:  # another number of tokens
                continue
            return cell * self.grid[0] / planes.shape[-2]
        return scale

    def _grid(self, size: Sequence[int] | None) -> tuple[int, int]:
        count = self.count
        if size is None:
            side = round(count**0.5)
            if side * side != count:
                raise ShapeError(f"{count} tokens are no square image; give MotionCallback size=(height, width)")
            return side, side
        height, width = size
        cell = (height * width / count) ** 0.5
        if not cell.is_integer() or height % cell or width % cell:
            raise ShapeError(f"an image of {height}x{width} cannot be {count} tokens")
        return int(height // cell), int(width // cell)

    def _order(self, tokens: Tensor) -> tuple[tuple[int, int, int], Tensor]:
        """(C, H, W) of the planes that are packed into tokens, and of each number in the tokens its place there."""
        width = tokens.shape[2]
        if width not in self._places:
            self._places[width] = self._asked(width)
        shape, places = self._places[width]
        return shape, places.to(tokens.device)

    def _asked(self, width: int) -> tuple[tuple[int, int, int], Tensor]:
        """The order of packing, by packing numbers with the pipeline's own function."""
        wanted = (1, self.grid[0] * self.grid[1], width)
        for side in (2, 1):
            if width % side**2:
                continue
            shape = (width // side**2, side * self.grid[0], side * self.grid[1])
            numbers = torch.arange(float(self.count * width), dtype=torch.float64)
            packed = _pack(self.pipeline, numbers.reshape(1, *shape), side)
            if packed is not None and packed.shape == wanted and torch.equal(packed.reshape(-1).sort()[0], numbers):
                return shape, packed.reshape(-1).long()
        raise ShapeError(f"{type(self.pipeline).__name__} packs its latents in a way of its own")


def _pack(pipeline: Any, planes: Tensor, side: int) -> Tensor | None:
    """By the pipeline's own function, two by two where it has none; None = not in cells of this side."""
    own = _packer(pipeline)
    n, c, h, w = planes.shape
    if own is None:
        cells = planes.reshape(n, c, h // side, side, w // side, side).permute(0, 2, 4, 1, 3, 5)
        return cells.reshape(n, -1, c * side**2)
    values = {"batch_size": n, "num_channels_latents": c, "height": h, "width": w, "patch_size": side}
    known = {name: values[name] for name in _arguments(own) if name in values}
    try:
        return own(planes, **known)
    except RuntimeError:  # cells of another side do not fit
        return None

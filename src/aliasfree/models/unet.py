"""The paper's UNet (arXiv 2411.09174) in all its configs; read top to bottom it is the architecture."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor, nn

from aliasfree.config import Config
from aliasfree.errors import ArgumentError, ShapeError, did_you_mean
from aliasfree.models.reference import read_reference
from aliasfree.nn import DoubleConv, DownBlock, Frame, Layers, UpBlock, time_encoding
from aliasfree.nn.preconditioning import Spectrum, precondition, residual_variance
from aliasfree.ops.radial import centre2d
from aliasfree.ops.resample import Padding
from aliasfree.ops.tracing import cache_constants

__all__ = ["AliasFreeUNet2DModel", "UNet2DOutput"]

EMBEDDING_WIDTH = 256
LEAST_RESIDUAL = 1e-4


@dataclass
class UNet2DOutput(BaseOutput):
    """The predicted noise, `sample` (N, C, H, W): diffusers' class of this name, without its import of all models."""

    sample: Tensor


class AliasFreeUNet2DModel(ModelMixin, ConfigMixin):
    """Noise predictor eps(x_t, t): the paper's UNet in Configs A to D, T and R. Equal state-dict keys; equal
    parameters, but for R's radial convolutions, which have a third of the weights.

    alias_free        config name ("A", "D-2N", "D-hq", "T", "R", ...), a `Config`, or its `to_config()`
    sample_size       side of the square images, or (height, width); multiples of 8. Only a default for samplers: any
                      size divisible by 8 may be given to `forward`
    in_channels, out_channels
    base_channels     width C of the first level, a multiple of 4; None = the (larger) side of the image (paper)
    num_class_embeds  number of classes K; index K is the null class of classifier-free guidance. None = unconditional
    padding_mode      "zeros", "circular" or "reflect", for convolutions and filters; None = what the config prefers:
                      "circular" for T and R, else "zeros"
    preconditioning   "none", or "spectral": the optimal linear predictor around the network, for the paper's noise
                      schedule (see `aliasfree.nn.preconditioning`); None = "spectral" for T and R, else "none"
    frame_features    K >= 0: with K > 0 the coordinates of the `Frame` enter as 4 K more channels of the first
                      convolution, and nowhere else; None = 1 for T and R, else 0
    spectrum          of the data, for "spectral": a `Spectrum` (from `measure_spectrum`) or its `to_dict()`; None =
                      that of photographs in general. `aliasfree train` measures it
    num_train_timesteps   T of the paper's noise schedule, which spectral preconditioning has to know

    5,897,155 parameters at 32x32 with 3 channels, 5,896,513 with one; 36 K C more for a frame. Raises ConfigError,
    ShapeError, ArgumentError.

    >>> import torch
    >>> from aliasfree import AliasFreeUNet2DModel
    >>> model = AliasFreeUNet2DModel("D-hq", sample_size=16, in_channels=1, out_channels=1, base_channels=4)
    >>> tuple(model(torch.zeros(2, 1, 16, 16), timestep=500).sample.shape)
    (2, 1, 16, 16)
    >>> model.save_pretrained("model")
    >>> AliasFreeUNet2DModel.from_pretrained("model").config["alias_free"]
    'D-hq'
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        alias_free: str | dict[str, Any] | Config = "D-hq",
        sample_size: int | tuple[int, int] = 32,
        in_channels: int = 3,
        out_channels: int = 3,
        base_channels: int | None = None,
        num_class_embeds: int | None = None,
        padding_mode: Padding | None = None,
        preconditioning: str | None = None,
        frame_features: int | None = None,
        spectrum: Spectrum | dict[str, Any] | None = None,
        num_train_timesteps: int = 1000,  # noqa: ARG002 (kept in the config)
    ) -> None:
        super().__init__()
        parsed = Config.parse(alias_free)
        traits = parsed.traits
        padding_mode = padding_mode or ("circular" if traits.periodic else "zeros")
        preconditioning = preconditioning or ("spectral" if traits.spectral else "none")
        frame_features = int(traits.frame) if frame_features is None else frame_features
        height, width = _pair(sample_size)
        _check_size(height, width, padding_mode)
        c = max(height, width) if base_channels is None else base_channels
        if c < 4 or c % 4:
            raise ArgumentError(f"base_channels must be a positive multiple of 4 (the attention heads), not {c}")
        if min(in_channels, out_channels) < 1:
            raise ArgumentError("in_channels and out_channels must be at least 1")
        if num_class_embeds is not None and num_class_embeds < 1:
            raise ArgumentError("num_class_embeds must be at least 1, or None for an unconditional model")
        if frame_features < 0:
            raise ArgumentError(f"frame_features must be 0 or more, not {frame_features}")
        self.spectrum = _spectrum(preconditioning, spectrum, in_channels, out_channels)
        self.register_to_config(
            alias_free=parsed.to_config(),
            padding_mode=padding_mode,
            preconditioning=preconditioning,
            frame_features=frame_features,
            spectrum=None if self.spectrum is None else self.spectrum.to_dict(),
        )
        self.gradient_checkpointing = False

        layers, e = Layers(parsed, padding_mode), EMBEDDING_WIDTH
        self.plane = layers.input_window()
        self.inc = DoubleConv(layers, in_channels + 4 * frame_features, c)
        self.down1 = DownBlock(layers, c, 2 * c, e)
        self.attn1 = layers.attention(2 * c)
        self.down2 = DownBlock(layers, 2 * c, 4 * c, e)
        self.attn2 = layers.attention(4 * c)
        self.down3 = DownBlock(layers, 4 * c, 4 * c, e)
        self.attn3 = layers.attention(4 * c)

        self.bot1 = DoubleConv(layers, 4 * c, 8 * c)
        self.bot2 = DoubleConv(layers, 8 * c, 8 * c)
        self.bot3 = DoubleConv(layers, 8 * c, 4 * c)

        self.up1 = UpBlock(layers, 8 * c, 2 * c, e)
        self.attn4 = layers.attention(2 * c)
        self.up2 = UpBlock(layers, 4 * c, c, e)
        self.attn5 = layers.attention(c)
        self.up3 = UpBlock(layers, 2 * c, c, e)
        self.attn6 = layers.attention(c)
        self.outc = nn.Conv2d(c, out_channels, 1)
        if num_class_embeds is not None:
            self.class_embedding = nn.Embedding(num_class_embeds + 1, e)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        class_labels: Tensor | None = None,
        frame: Frame | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """Predict the noise in `sample`.

        sample        (N, in_channels, H, W), H and W divisible by 8
        timestep      number, 0-d or (N,) tensor, 0 .. T-1
        class_labels  (N,) integers 0 .. K (K = no class); None = no class for all
        frame         where the pictures lie, for a model with `frame_features`; None = the unmoved frame
        Returns UNet2DOutput(sample=(N, out_channels, H, W)), or a 1-tuple. Raises ShapeError, ArgumentError.
        """
        if sample.ndim != 4 or sample.shape[1] != self.config["in_channels"]:
            raise ShapeError(
                f"expected images of shape (N, {self.config['in_channels']}, H, W), got {tuple(sample.shape)}"
            )
        height, width = sample.shape[-2:]
        _check_size(height, width, self.config["padding_mode"])
        n = sample.shape[0]
        t = torch.as_tensor(timestep, device=sample.device)
        if t.numel() not in (1, n):
            raise ShapeError(f"expected one timestep or {n}, got {t.numel()}")
        t = t.reshape(-1).expand(n)
        emb = self._embedding(t, class_labels)
        seen, finish = sample, None
        if self.spectrum is not None:
            total = self.config["num_train_timesteps"]
            alpha_bar = _alphas_cumprod(total, sample.device)[t.long().clamp(0, total - 1)]
            seen, finish = precondition(self.spectrum, sample, alpha_bar)
        seen = self.plane(self._with_frame(seen.to(self.dtype), frame))

        run = self._block
        x1 = run(self.inc, seen)
        x2 = run(self.attn1, run(self.down1, x1, emb))
        x3 = run(self.attn2, run(self.down2, x2, emb))
        x4 = run(self.attn3, run(self.down3, x3, emb))

        x4 = run(self.bot3, run(self.bot2, run(self.bot1, x4)))

        y = run(self.attn4, run(self.up1, x4, x3, emb))
        y = run(self.attn5, run(self.up2, y, x2, emb))
        y = run(self.attn6, run(self.up3, y, x1, emb))
        out = centre2d(self.outc(y), (sample.shape[-2], sample.shape[-1]))
        out = out if finish is None else finish(out).to(sample.dtype)
        return UNet2DOutput(sample=out) if return_dict else (out,)

    def loss_weights(self, exponent: float = 1.0, size: tuple[int, int] | None = None) -> Tensor | None:
        """What the squared error at each timestep is multiplied by in training, float32 (T,); None = 1 everywhere.

        With spectral preconditioning the network's share of the prediction has the variance r(t) = mean of a S / v, at
        the noisiest times 1e-4 of that at the cleanest: unweighted, these would hardly be learned. The weight is
        r^-exponent (r not below 1e-4), scaled so that the linear predictor alone has the loss 1. 0 = all alike.

        size  (height, width) of the images; None = `sample_size`
        """
        if self.spectrum is None:
            return None
        height, width = size or _pair(self.config["sample_size"])
        alpha_bar = _alphas_cumprod(self.config["num_train_timesteps"], torch.device("cpu"))
        r = residual_variance(self.spectrum, (height, width), alpha_bar)
        weight = r.clamp(min=LEAST_RESIDUAL) ** -exponent
        return (weight / (weight * r).mean()).float()

    def _with_frame(self, sample: Tensor, frame: Frame | None) -> Tensor:
        count = self.config["frame_features"]
        if not count:
            if frame is not None:
                raise ArgumentError("this model knows no frame: leave it out, or build it with frame_features=1")
            return sample
        n, _, h, w = sample.shape
        features = (frame or Frame()).features(n, (h, w), count, sample.dtype, sample.device)
        return torch.cat([sample, features], dim=1)

    def _embedding(self, t: Tensor, class_labels: Tensor | None) -> Tensor:
        """Time encoding of t (N,) plus class embedding, (N, EMBEDDING_WIDTH), in the dtype of the weights."""
        n = t.shape[0]  # len() would fix the batch of an exported network
        emb = time_encoding(t, EMBEDDING_WIDTH).to(self.dtype)
        classes = self.config["num_class_embeds"]
        if classes is None:
            if class_labels is not None:
                raise ArgumentError("this model has no classes; leave out class_labels or train with num_class_embeds")
            return emb
        if class_labels is None:
            class_labels = torch.full((n,), classes, device=t.device)
        return emb + self.class_embedding(class_labels)

    def _block(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(block, *inputs)
        return block(*inputs)

    @classmethod
    def from_reference(
        cls,
        checkpoint: str | PathLike[str] | dict[str, Tensor],
        alias_free: str | Config,
        sample_size: int | tuple[int, int],
        padding_mode: Padding | None = None,
    ) -> AliasFreeUNet2DModel:
        """A model with the weights of a checkpoint written by the paper's published code.

        checkpoint    path of a .pt / .pth (read with `weights_only=True`: no code is ever unpickled) or .safetensors
                      file, or the state dict itself, of any of the four variants
        alias_free    the config to run it in; the published code normalises its kernels, so its B, C, D are "B-2N", ...
        Raises CheckpointError when the file is not such a checkpoint.
        """
        if Config.parse(alias_free).is_radial:
            raise ArgumentError("config R has no 3x3 convolutions, so it cannot take their weights; choose another")
        state = read_reference(Path(checkpoint) if isinstance(checkpoint, (str, PathLike)) else checkpoint)
        model = cls(
            alias_free=alias_free,
            sample_size=sample_size,
            in_channels=state["inc.conv1.weight"].shape[1],
            out_channels=state["outc.weight"].shape[0],
            base_channels=state["outc.weight"].shape[1],
            padding_mode=padding_mode,
            preconditioning="none",
            frame_features=0,
        )
        model.load_state_dict(state)
        return model


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _spectrum(
    preconditioning: str, spectrum: Spectrum | dict[str, Any] | None, in_channels: int, out_channels: int
) -> Spectrum | None:
    valid = ("none", "spectral")
    if preconditioning not in valid:
        raise ArgumentError(f"unknown preconditioning {preconditioning!r}{did_you_mean(str(preconditioning), valid)}")
    if preconditioning == "none":
        if spectrum is not None:
            raise ArgumentError("a spectrum is for preconditioning='spectral'; leave it out, or ask for that")
        return None
    if in_channels != out_channels:
        raise ArgumentError(
            f"spectral preconditioning predicts as many channels as it sees, not {in_channels} and {out_channels}; use "
            f"preconditioning='none'"
        )
    given = Spectrum.natural(in_channels) if spectrum is None else Spectrum.of(spectrum)
    if len(given.mean) != in_channels:
        raise ArgumentError(
            f"the spectrum is of {len(given.mean)} channels, the model of {in_channels}; measure it anew"
        )
    return given


@cache_constants(maxsize=8)
def _alphas_cumprod(total: int, device: torch.device) -> Tensor:
    """a = cumulative alpha of the paper's noise schedule, float32 (T,), as `PaperDDPMScheduler` has it."""
    with torch.inference_mode(False), torch.no_grad():
        betas = torch.linspace(1e-4, 0.02, total, dtype=torch.float32)
        return (1.0 - betas).cumprod(0).to(device)


def _check_size(height: int, width: int, padding_mode: str | None) -> None:
    if height < 8 or width < 8 or height % 8 or width % 8:
        near = [max(8, round(side / 8) * 8) for side in (height, width)]
        raise ShapeError(
            f"image size must be divisible by 8 (three halvings), not {height}x{width}; resize to {near[0]}x{near[1]}"
        )
    if padding_mode == "reflect" and min(height, width) < 16:
        raise ShapeError(
            f"padding_mode 'reflect' needs images of at least 16x16, not {height}x{width}: the smallest plane has one "
            "pixel, which has nothing to reflect; resize them or choose 'zeros' or 'circular'"
        )

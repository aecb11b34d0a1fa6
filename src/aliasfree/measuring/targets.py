"""What `aliasfree analyze` looks at: a run, an untrained config, or any diffusers UNet or VAE, and images for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.errors import ArgumentError, CheckpointError, ConfigError, DataError, check_seed
from aliasfree.loading import load_model, read_json

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Subject", "SubjectSettings", "natural_noise", "open_subject", "read_by"]


@dataclass(frozen=True, kw_only=True)
class SubjectSettings:
    """How a network is asked. The first four are for untrained configs only."""

    image_size: int = 32
    base_channels: int = 16
    channels: int = 1
    padding_mode: str | None = None  # None = what the config prefers
    timestep: int = 250  # of the noise in the images, 0 .. T-1
    images: int = 2
    seed: int = 0  # of untrained weights, images and noise
    part: str = "unet"  # of a diffusers pipeline: "unet" or "vae"
    ema: bool = True

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.images < 1 or self.timestep < 0:
            raise ArgumentError("`images` must be at least 1, `timestep` 0 or more.")
        if self.part not in ("unet", "vae"):
            raise ArgumentError(f"`part` is unet or vae, not {self.part!r}.")


@dataclass(frozen=True)
class Subject:
    """A network, what is asked of it, and images to ask it about.

    call      images (N, C, H, W) to images of the same shape
    framed    the same of a network that knows the frame, given how images and frame have moved; None = it does not
    periodic  the network pads periodically
    """

    name: str
    model: nn.Module
    call: Callable[[Tensor], Tensor] = field(repr=False)
    images: Tensor = field(repr=False)
    periodic: bool
    about: str  # the images, in words
    framed: Callable[[Tensor, dict[str, Any]], Tensor] | None = field(default=None, repr=False)


def open_subject(target: str, settings: SubjectSettings) -> Subject:
    """A subject from the folder of a run, a config's name, or a folder written by diffusers' `save_pretrained`.

    Raises ConfigError (neither a folder nor a config), CheckpointError, RunError, ArgumentError.
    """
    path = Path(target)
    if path.is_dir():
        from aliasfree.training import RunFolder

        run = RunFolder(path)
        if run.is_published:
            return _run_subject(target, run, settings)
        if run.exists and "settings" in (found := read_json(run.config_file)):
            if found.get("command") == "tune":
                return _diffusers_subject(run.model, settings)
            return _run_subject(target, run, settings)
        return _diffusers_subject(path, settings)
    try:
        return _config_subject(target, settings)
    except ConfigError as error:
        raise ConfigError(f"{target!r} is no folder of a run or a diffusers model, and as a config: {error}") from error


def read_by(target: str) -> list[Path]:
    """The files and folders of a target that `open_subject` may read."""
    path = Path(target)
    parts = (
        "config.json",
        "training.json",
        "model_index.json",
        "model",
        "checkpoints",
        "losses.csv",
        "unet",
        "vae",
        "scheduler",
    )
    return [path / part for part in parts] + sorted(path.glob("*.safetensors*")) + sorted(path.glob("*.bin"))


def natural_noise(n: int, channels: int, height: int, width: int, seed: int) -> Tensor:
    """Images (n, channels, height, width) with the 1/f spectrum of photographs, mean 0 and deviation 0.5."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.fft.fftfreq(side) * side for side in (height, width))
    radius = (rows[:, None] ** 2 + columns**2).sqrt().clamp(min=1)
    white = torch.randn(n, channels, height, width, generator=generator)
    x = torch.fft.ifft2(torch.fft.fft2(white) / radius).real
    x = x - x.mean((2, 3), keepdim=True)
    return x / x.std((1, 2, 3), keepdim=True) / 2


def _noised(x: Tensor, settings: SubjectSettings, total: int) -> Tensor:
    """x at the settings' time step of the paper's noise schedule."""
    import torch

    from aliasfree.diffusion import PaperDDPMScheduler

    if settings.timestep >= total:
        raise ArgumentError(
            f"`timestep` must be below {total}, the time steps of the training, not {settings.timestep}."
        )
    generator = torch.Generator().manual_seed((settings.seed + 1) % 2**64)
    noise = torch.randn(x.shape, generator=generator)
    times = torch.full((len(x),), settings.timestep)
    return PaperDDPMScheduler(num_train_timesteps=total).add_noise(x, noise, times)


def _config_subject(name: str, s: SubjectSettings) -> Subject:
    import torch

    from aliasfree.models import AliasFreeUNet2DModel

    with torch.random.fork_rng():
        torch.manual_seed(s.seed)
        model = AliasFreeUNet2DModel(
            name,
            s.image_size,
            s.channels,
            s.channels,
            s.base_channels,
            padding_mode=s.padding_mode,
        ).eval()
    images = natural_noise(s.images, s.channels, s.image_size, s.image_size, s.seed)
    about = f"{s.images} images with the spectrum of photographs, noised to t = {s.timestep}"
    label = f"{name}, untrained, {model.config['padding_mode']} padding"
    x = _noised(images, s, 1000)
    return _ours(label, model, x, about, s)


def _run_subject(target: str, run: Any, s: SubjectSettings) -> Subject:
    model = run.load_model(ema=s.ema)
    trained = run.settings
    height, width = _pair(model.config["sample_size"])
    channels = int(model.config["in_channels"])
    try:
        from aliasfree.measuring.real_images import real_images

        images, what = (
            real_images(trained.data, (height, width), channels, s.images, s.seed),
            f"images of {trained.data}",
        )
    except DataError:
        images = natural_noise(s.images, channels, height, width, s.seed)
        what = f"images with the spectrum of photographs ({trained.data} is not here)"
    x = _noised(images, s, trained.num_train_timesteps)
    label = f"{trained.config} in {target}"
    about = f"{s.images} {what}, noised to t = {s.timestep}"
    return _ours(label, model, x, about, s)


def _ours(label: str, model: Any, x: Tensor, about: str, s: SubjectSettings) -> Subject:
    """One of the paper's networks."""
    from aliasfree.measuring.network_equivariance import is_periodic
    from aliasfree.nn import Frame

    def framed(v: Tensor, moved: dict[str, Any]) -> Tensor:
        image: Tensor = model(v, s.timestep, frame=Frame(**moved)).sample
        return image

    told = framed if model.config.get("frame_features") else None
    return Subject(label, model, lambda v: model(v, s.timestep).sample, x, is_periodic(model), about, told)


def _diffusers_subject(path: Path, s: SubjectSettings) -> Subject:
    import torch

    from aliasfree.conversion.inputs import call_on_images
    from aliasfree.models import AliasFreeUNet2DModel

    folder = path / s.part if (path / "model_index.json").is_file() else path
    config = folder / "config.json"
    if not config.is_file():
        raise CheckpointError(
            f"{path} holds neither a run nor a diffusers model (no {config.name} in {folder}); give a folder written "
            "by `aliasfree train` or by save_pretrained."
        )
    model = load_model(folder)
    kind = type(model).__name__
    if isinstance(model, AliasFreeUNet2DModel):
        height, width = _pair(model.config["sample_size"])
        noise = natural_noise(s.images, int(model.config["in_channels"]), height, width, s.seed)
        x = _noised(noise, s, int(model.config["num_train_timesteps"]))
        about = f"{s.images} images with the spectrum of photographs, noised to t = {s.timestep}"
        return _ours(f"{kind} in {path}", model, x, about, s)
    ask, channels, (height, width) = call_on_images(model, s.images, s.timestep)
    x = natural_noise(s.images, channels, min(64, height), min(64, width), s.seed)
    about = f"{s.images} images {x.shape[2]}x{x.shape[3]} with the spectrum of photographs"
    if not hasattr(model, "encode"):
        x, about = _noised(x, s, 1000), f"{about}, noised to t = {s.timestep}"

    def call(v: Tensor) -> Tensor:
        with torch.no_grad():
            return ask(v)[:, :channels]

    try:
        shape = call(x).shape
    except Exception as error:
        raise CheckpointError(
            f"{kind} does not take images {height}x{width} ({str(error).splitlines()[0]})."
        ) from error
    if shape != x.shape:
        raise CheckpointError(
            f"{kind} makes {tuple(shape)} of images {tuple(x.shape)}; analyze measures what keeps them."
        )
    c = model.config
    periodic = c.get("alias_free_padding_mode") == "circular" or c.get("alias_free_tile") == "xy"
    return Subject(f"{kind} in {path}", model, call, x, periodic, about)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

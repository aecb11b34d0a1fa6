"""The stock model of a folder as a teacher, and its converted copy as the student."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aliasfree.conversion import convert
from aliasfree.errors import ArgumentError, CheckpointError, DataError
from aliasfree.loading import load_model, model_class
from aliasfree.tuning.settings import TuneSettings

__all__ = ["Pair", "fingerprint", "open_autoencoder", "open_pair", "reads", "step_floor"]

UNETS = ("UNet2DModel", "UNet2DConditionModel")


@dataclass(frozen=True)
class Pair:
    """Teacher and student.

    kind          "autoencoder" or "unet"
    autoencoder   makes the latents that a UNet sees; None = it sees images
    scheduler     of the noise that a UNet sees; None for autoencoders
    embeddings    encoder_hidden_states (M, L, D) of a conditional UNet, else None
    channels      of what the student sees: image channels, or those of the latents
    size          (height, width) of that
    """

    kind: str
    teacher: Any
    student: Any
    channels: int
    size: tuple[int, int]
    autoencoder: Any = None
    scheduler: Any = field(default=None, repr=False)
    embeddings: Tensor | None = field(default=None, repr=False)

    @property
    def factor(self) -> int:
        """Pixels of an image for one of the latents, of the student if it is an autoencoder, else of its own."""
        vae = self.teacher if self.kind == "autoencoder" else self.autoencoder
        return 1 if vae is None else _factor(vae)

    @property
    def image_channels(self) -> int:
        """1 or 3: what the data have to be."""
        return self.channels if self.autoencoder is None else int(self.autoencoder.config["in_channels"])

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the data."""
        k = self.factor if self.autoencoder is not None else 1
        return self.size[0] * k, self.size[1] * k

    @property
    def periodic(self) -> bool:
        """Whether the student's plane has no edge."""
        return self.student.config.get("alias_free_padding_mode") == "circular"


def open_pair(settings: TuneSettings) -> Pair:
    """The model in `settings.model`, and its copy converted as the settings say. Neither is trained yet.

    Raises CheckpointError for a folder without a model that can be read, ArgumentError for a model of another kind, and
    what `convert` raises.
    """
    folder, part = _part(settings)
    kind, saved = _kind(folder)
    teacher = _load(folder, kind)
    autoencoder = scheduler = embeddings = None
    if kind in UNETS:
        pipeline = folder.parent if part is not None else None
        channels = int(saved.get("in_channels") or 3)
        _check_unet(saved, folder)
        scheduler = _scheduler(pipeline)
        if settings.vae is not None:
            autoencoder = open_autoencoder(settings.vae)
        elif pipeline is not None and (pipeline / "vae" / "config.json").is_file():
            autoencoder = open_autoencoder(pipeline / "vae")
        embeddings = _embeddings(settings.embeddings, kind, saved)
    else:
        _check_autoencoder(teacher, folder)
        channels = int(saved.get("in_channels") or 3)
    size = _size(settings, saved)
    student = copy.deepcopy(teacher)
    convert(student, settings.config, settings.padding_mode, attention_rate=settings.attention_rate)  # type: ignore[arg-type]
    student.requires_grad_(True).train()
    pair = Pair("unet" if kind in UNETS else "autoencoder", teacher, student, channels, size, autoencoder, scheduler,
                embeddings)  # fmt: skip
    _check_fit(pair, settings)
    return pair


def reads(settings: TuneSettings) -> list[Path]:
    """Folders and files that a run reads, which it must not write to."""
    return [path for path in (settings.model, settings.vae, settings.embeddings) if path is not None]


def open_autoencoder(folder: Path) -> Any:
    """An AutoencoderKL-like model, frozen; stock or converted. Raises as `open_pair` does."""
    kind, _ = _kind(folder, converted=True)
    model = _load(folder, kind)
    _check_autoencoder(model, folder)
    return model


def fingerprint(model: torch.nn.Module) -> str:
    """A checksum of weights, to know a teacher again."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else b"")
    return digest.hexdigest()[:16]


def step_floor(pair: Pair, batch_size: int) -> int:
    """Bytes that a step takes at the very least: the student's weights, gradients, average and moments, and of each
    image what goes in, comes out and is compared; float32."""
    weights = sum(p.numel() for p in pair.student.parameters())
    return 4 * (5 * weights + 5 * batch_size * pair.channels * pair.size[0] * pair.size[1])


def _part(settings: TuneSettings) -> tuple[Path, str | None]:
    folder = settings.model.expanduser()
    if not (folder / "model_index.json").is_file():
        return folder, None
    there = [name for name in ("unet", "vae") if (folder / name / "config.json").is_file()]
    part = settings.part or next(iter(there), None)
    if part not in there:
        raise ArgumentError(
            f"The pipeline in {folder} has no {part or 'unet or vae'}; give the folder of another, or of a model."
        )
    return folder / part, part


def _kind(folder: Path, converted: bool = False) -> tuple[str, dict[str, Any]]:
    try:
        saved = json.loads((folder / "config.json").read_text())
        kind = str(saved["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} is no folder of a diffusers model, which has a config.json ({error}); save one with "
            f"model.save_pretrained."
        ) from error
    if kind.startswith("AliasFree") and not converted:
        raise ArgumentError(
            f"{folder} holds a converted model ({kind}); give the stock one that it was made of, which is the teacher."
        )
    return kind, saved


def _load(folder: Path, kind: str) -> Any:
    loader = model_class({"_class_name": kind}, folder / "config.json")
    known = kind in UNETS or all(hasattr(loader, name) for name in ("from_pretrained", "encode", "decode"))
    if not known:
        raise ArgumentError(
            f"{folder} holds a {kind}; UNet2DModel, UNet2DConditionModel and autoencoders like AutoencoderKL can be "
            "tuned."
        )
    return load_model(folder).float().requires_grad_(False)


def _check_autoencoder(model: Any, folder: Path) -> None:
    """Raise ArgumentError unless images become a distribution of latents, and latents images again."""
    kind, channels = type(model).__name__, model.config.get("in_channels")
    side = 64
    why = None
    try:
        with torch.no_grad():
            found = model.encode(torch.zeros(1, int(channels), side, side)).latent_dist
            shape = model.decode(found.mode()).sample.shape
        if tuple(shape) != (1, int(channels), side, side):
            why = f"makes {tuple(shape)} of images {side}x{side}"
    except (AttributeError, TypeError, ValueError, RuntimeError, IndexError):
        why = "has no distribution of latents over planes"
    if why is not None:
        raise ArgumentError(f"{folder} holds a {kind}, which {why}; autoencoders like AutoencoderKL can be tuned.")


def _check_unet(saved: dict[str, Any], folder: Path) -> None:
    for name in ("num_class_embeds", "class_embed_type", "addition_embed_type", "encoder_hid_dim_type"):
        if saved.get(name) is not None:
            raise ArgumentError(
                f"The UNet in {folder} wants more than noise, time and embeddings ({name}), which cannot be given here."
            )
    if (saved.get("out_channels") or 3) < (saved.get("in_channels") or 3):
        raise ArgumentError(
            f"The UNet in {folder} sees more channels than it predicts (inpainting?), and is not tuned here."
        )


def _scheduler(pipeline: Path | None) -> Any:
    """The noise that the UNet was trained with: alphas and kind of prediction, of a DDPMScheduler."""
    from diffusers import DDPMScheduler

    file = None if pipeline is None else pipeline / "scheduler" / "scheduler_config.json"
    if file is None or not file.is_file():
        return DDPMScheduler()
    saved = json.loads(file.read_text())
    wanted = saved.get("prediction_type", "epsilon")
    if "beta_schedule" not in saved or wanted not in ("epsilon", "sample", "v_prediction"):
        raise ArgumentError(
            f"The scheduler in {file.parent} is a {saved.get('_class_name')}, whose noise is not that of a "
            f"DDPMScheduler; a UNet trained with another cannot be tuned here."
        )
    own = inspect.signature(DDPMScheduler.__init__).parameters
    return DDPMScheduler(**{k: v for k, v in saved.items() if k in own and v is not None})


def _embeddings(path: Path | None, kind: str, saved: dict[str, Any]) -> Tensor | None:
    if kind == "UNet2DModel":
        if path is not None:
            raise ArgumentError("A UNet2DModel sees no `embeddings`; leave them out.")
        return None
    width = saved.get("cross_attention_dim") or 1280
    want = f"encoder_hidden_states (M, L, {width})"
    if path is None:
        raise ArgumentError(f"A {kind} sees embeddings; give a safetensors file of {want} as `embeddings`.")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        named = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} is no safetensors file that can be read ({error}); write one of {want}.") from error
    found = next(iter(named.values()), torch.empty(0))
    if len(named) != 1 or found.ndim != 3 or found.shape[-1] != width or not len(found):
        shapes = ", ".join(f"{k} {tuple(v.shape)}" for k, v in named.items()) or "nothing"
        raise DataError(f"{path} holds {shapes}; it has to hold one tensor, {want}.")
    return found.float()


def _size(settings: TuneSettings, saved: dict[str, Any]) -> tuple[int, int]:
    given = settings.image_size or saved.get("sample_size")
    if given is None:
        raise ArgumentError("The model does not say how large its images are; give `image_size`.")
    height, width = (given, given) if isinstance(given, int) else given
    return int(height), int(width)


def _factor(vae: Any) -> int:
    """Image pixels for a latent pixel."""
    side = 64
    with torch.no_grad():
        image = torch.zeros(1, int(vae.config["in_channels"]), side, side, device=vae.device, dtype=vae.dtype)
        z = vae.encode(image).latent_dist.mode()
    return side // int(z.shape[-1])


def _check_fit(pair: Pair, settings: TuneSettings) -> None:
    """Raise ArgumentError where the pieces do not go together."""
    turns = settings.weights(pair.kind).get("turn")
    if turns and pair.size[0] != pair.size[1]:
        raise ArgumentError(f"Quarter turns want square images, not {pair.size[0]}x{pair.size[1]}; leave `turn` out.")
    if pair.kind == "autoencoder" and any(side % pair.factor for side in pair.size):
        near = [max(1, round(side / pair.factor)) * pair.factor for side in pair.size]
        raise ArgumentError(
            f"The autoencoder halves images to a {pair.factor}th of the side, so `image_size` must be a multiple of "
            f"{pair.factor}, not {pair.size[0]}x{pair.size[1]}; try {near[0]}x{near[1]}."
        )
    if pair.kind == "unet":
        seen = None if pair.autoencoder is None else int(pair.autoencoder.config["latent_channels"])
        if seen is not None and seen != pair.channels:
            raise ArgumentError(
                f"The UNet sees {pair.channels} channels and the autoencoder makes {seen}; give the `vae` that it was "
                f"trained with."
            )
    if pair.image_channels not in (1, 3) and settings.data is not None:
        raise ArgumentError(
            f"The model sees {pair.channels} channels, which no image has; give the autoencoder that makes them as "
            f"`vae`, or leave `data` out for samples of the teacher."
        )
    with torch.no_grad():
        try:
            x = torch.zeros(1, pair.channels, *pair.size)
            if pair.kind == "autoencoder":
                pair.student(x)
            else:
                told = {} if pair.embeddings is None else {"encoder_hidden_states": pair.embeddings[:1]}
                pair.student(x, torch.zeros(1, dtype=torch.long), **told)
        except (RuntimeError, ValueError) as error:
            raise ArgumentError(
                f"The converted model does not take images {pair.size[0]}x{pair.size[1]} "
                f"({str(error).splitlines()[0]}); give another `image_size`."
            ) from error

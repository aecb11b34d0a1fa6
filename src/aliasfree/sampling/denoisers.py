"""Folders of diffusers that can be sampled like a run: a UNet2DModel, alone or in a pipeline, that predicts noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aliasfree.errors import CheckpointError
from aliasfree.loading import load_model, read_json, saved_class

__all__ = ["DenoiserFolder", "is_denoiser"]

KINDS = ("UNet2DModel", "AliasFreeUNet2DModel", "AliasFreeStockUNet2DModel")


def is_denoiser(path: Path) -> bool:
    """Whether a folder holds a UNet of images without another network: no text, no latents. A damaged one is none."""
    index = path / "model_index.json"
    try:
        if not index.is_file():
            return read_json(path / "config.json").get("_class_name") in KINDS
        parts = {name: part for name, part in read_json(index).items() if isinstance(part, list) and any(part)}
        return parts.keys() <= {"unet", "scheduler"} and parts.get("unet", [""])[-1] in KINDS
    except (CheckpointError, OSError):
        return False


class DenoiserFolder:
    """A folder for which `is_denoiser` holds, as `Sampler` takes it in place of a run.

    path   the folder
    model  where its UNet lies
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "unet" if (path / "model_index.json").is_file() else path

    @property
    def config(self) -> dict[str, Any]:
        """Of the UNet. Raises CheckpointError."""
        return read_json(self.model / "config.json")

    @property
    def title(self) -> str:
        """The UNet's config, or its class if it is a stock one."""
        config = self.config
        return str(config.get("alias_free") or config.get("_class_name"))

    @property
    def num_train_timesteps(self) -> int:
        """By the pipeline's scheduler; a UNet alone was trained with diffusers' `DDPMScheduler()`, as far as one knows.

        Raises CheckpointError for a UNet that predicts something else than noise, or knows other noise levels.
        """
        import diffusers
        import torch

        from aliasfree.diffusion import make_scheduler

        file = self.path / "scheduler" / "scheduler_config.json"
        alone = self.model == self.path
        config = {} if alone else read_json(file)
        loader = diffusers.DDPMScheduler if alone else saved_class(config, file, diffusers.SchedulerMixin)
        scheduler = loader.from_config(config)
        total = int(scheduler.config["num_train_timesteps"])
        levels, ours = getattr(scheduler, "alphas_cumprod", None), make_scheduler("ddpm", total).alphas_cumprod
        known = levels is not None and levels.shape == ours.shape and torch.allclose(levels, ours, atol=1e-5)
        if not known or scheduler.config.get("prediction_type", "epsilon") != "epsilon":
            raise CheckpointError(
                f"{self.path} was trained with another diffusion than noise prediction with beta linear from 1e-4 to "
                "0.02, so it cannot be sampled here; use AliasFreePipeline with its own scheduler in Python."
            )
        return total

    def load_model(self, ema: bool = True) -> Any:  # noqa: ARG002  # a saved model has one set of weights
        """The network on the CPU, in eval mode. Raises CheckpointError."""
        model = load_model(self.model)
        if model.config["sample_size"] is None or model.config["in_channels"] != model.config["out_channels"]:
            raise CheckpointError(
                f"{self.model} makes no images of a size of its own: it needs a sample_size, and as many channels out "
                "as in."
            )
        return model

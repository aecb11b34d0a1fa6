"""The public names and signatures, written down, so that none is lost by accident."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import aliasfree

PUBLIC = {
    "AliasFreeAutoencoderKL": None,
    "AliasFreeControlNetModel": None,
    "AliasFreePipeline": "(unet, scheduler)",
    "AliasFreeStockUNet2DModel": None,
    "AliasFreeUNet2DConditionModel": None,
    "AliasFreeUNet2DModel": (
        "(alias_free, sample_size, in_channels, out_channels, base_channels, num_class_embeds, padding_mode, "
        "preconditioning, frame_features, spectrum, num_train_timesteps)"
    ),
    "AliasfreeError": None,
    "Config": "(letter, up, down, oversample, running_oversample)",
    "FilterSpec": "(kind, taps, cutoff, kaiser_beta, normalize, gain, window)",
    "Frame": "(rotate, translate, zoom)",
    "PaperDDPMScheduler": "(num_train_timesteps, beta_start, beta_end)",
    "__version__": None,
    "conversion_report": "(model, inputs)",
    "convert": "(model, config, padding_mode, feed_forward, inputs, attention_rate)",
    "downsample2d": "(x, filter, factor, padding, backend)",
    "filtered_activation2d": "(x, activation, up, down, factor, padding, backend)",
    "revert": "(model)",
    "rotate2d": "(x, degrees, method, return_mask)",
    "tile": "(model, axes, inputs, prove)",
    "translate2d": "(x, dy, dx, method, return_mask)",
    "untile": "(model)",
    "upsample2d": "(x, filter, factor, padding, backend)",
    "zoom2d": "(x, factor, method, return_mask)",
}

METHODS = {
    "Config.parse": "(name)",
    "FilterSpec.named": "(name)",
    "FilterSpec.kernel": "(self)",
    "FilterSpec.response": "(self, n)",
    "FilterSpec.phase_gains": "(self, factor)",
    "AliasFreeUNet2DModel.forward": "(self, sample, timestep, class_labels, frame, return_dict)",
    "AliasFreeUNet2DModel.from_reference": "(checkpoint, alias_free, sample_size, padding_mode)",
    "PaperDDPMScheduler.set_timesteps": "(self, num_inference_steps, device)",
    "PaperDDPMScheduler.step": "(self, model_output, timestep, sample, noise, generator, return_dict)",
    "PaperDDPMScheduler.add_noise": "(self, original_samples, noise, timesteps)",
    "AliasFreePipeline.__call__": (
        "(self, batch_size, num_inference_steps, rotate, translate, zoom, method, noise, schedule, class_labels, "
        "guidance_scale, generator, output_type, return_frames, frame_every, return_dict, progress, eta, "
        "latents, step_noise, null_class)"
    ),
}

SUBMODULES = {
    "conversion": (
        *("ConversionReport", "Converted", "conversion_report", "convert", "register_block", "revert", "rolled_db"),
        *("tile", "untile"),
    ),
    "config": ("LETTERS", "PAPER_CONFIGS", "Config", "Traits", "known_names", "register_letter"),
    "data": ("ImageData", "make_mnist_m", "open_images", "unit_range"),
    "diffusion": (
        "AliasFreePipeline",
        "MotionCallback",
        "PaperDDPMScheduler",
        "make_scheduler",
        "register_scheduler",
        "sample_generators",
        "training_loss",
    ),
    "evaluation": (
        "accepted_share",
        "accuracy",
        "aliasing",
        "classification_accuracy_score",
        "eq_r",
        "eq_t",
        "frechet_distance",
        "inception_score",
        "kernel_distance",
        "noise_error",
        "precision_recall",
        "train_classifier",
    ),
    "ops": ("explain", "filtered_activation2d", "upsample2d", "downsample2d"),
    "filters": ("FILTER_NAMES", "WINDOWS", "FilterSpec"),
    "pictures": ("collage", "data_uri", "grid", "save_gif", "save_mp4", "save_png", "to_uint8"),
    "training": ("RunFolder", "RunSettings", "train"),
    "tuning": ("TuneSettings", "tune"),
}


def names_of(function) -> str:
    return f"({', '.join(inspect.signature(function).parameters)})"


def resolve(path: str):
    value = aliasfree
    for part in path.split("."):
        value = getattr(value, part)
    return value


def test_the_public_names_are_exactly_these():
    assert set(aliasfree.__all__) == set(PUBLIC)
    assert aliasfree.__all__ == sorted(aliasfree.__all__)
    assert set(dir(aliasfree)) >= set(PUBLIC)


@pytest.mark.parametrize("name", [n for n, signature in PUBLIC.items() if signature])
def test_a_public_name_takes_these_arguments(name):
    assert names_of(resolve(name)) == PUBLIC[name]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_these_arguments(name):
    assert names_of(resolve(name)) == METHODS[name]


@pytest.mark.parametrize("module", SUBMODULES)
def test_a_submodule_lists_these_names(module):
    loaded = importlib.import_module(f"aliasfree.{module}")
    assert set(SUBMODULES[module]) <= set(loaded.__all__)
    for name in loaded.__all__:
        assert hasattr(loaded, name), f"aliasfree.{module}.__all__ lists {name!r}, which is not there"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aliasfree.nothing


HEAVY = ("torch", "numpy", "numba", "triton", "gradio", "matplotlib", "diffusers", "datasets", "sklearn")


@pytest.mark.parametrize("module", ["aliasfree", "aliasfree.cli"])
def test_importing_it_brings_in_no_heavy_library(module):
    code = f"import sys, {module}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

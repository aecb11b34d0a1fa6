"""The training objective: which times, which target, which labels."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from aliasfree.diffusion import PaperDDPMScheduler, training_loss
from aliasfree.errors import ArgumentError, ShapeError


class Recorder:
    """Predicts what it is told to and keeps what it was given."""

    def __init__(self, classes: int | None = None, predict=torch.zeros_like) -> None:
        self.config, self.predict = {"num_class_embeds": classes}, predict
        self.seen: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def __call__(self, x: Tensor, t: Tensor, class_labels: Tensor | None = None) -> SimpleNamespace:
        self.seen.append((x, t, class_labels))
        return SimpleNamespace(sample=self.predict(x))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_times_are_uniform_from_one_to_the_last() -> None:
    model = Recorder()
    training_loss(model, torch.zeros(20_000, 1, 1, 1), PaperDDPMScheduler(11), generator())
    counts = torch.bincount(model.seen[0][1], minlength=11)
    assert counts[0] == 0
    assert counts[1:].min() > 1800
    assert len(counts) == 11


def test_the_target_is_the_noise_that_was_added() -> None:
    # Black images: x_t = sqrt(1 - ahat) noise, so a network that divides by it is perfect.
    s, images = PaperDDPMScheduler(100), torch.zeros(64, 1, 8, 8)
    t = torch.randint(1, 100, (64,), generator=generator(3))
    scale = (1 - s.alphas_cumprod[t]).sqrt().reshape(-1, 1, 1, 1)
    assert float(training_loss(Recorder(predict=lambda x: x / scale), images, s, generator(3))) < 1e-10
    assert float(training_loss(Recorder(), images, s, generator(3))) == pytest.approx(1, abs=0.1)


def test_the_signal_is_scaled_as_the_schedule_says() -> None:
    s, model = PaperDDPMScheduler(1000), Recorder()
    training_loss(model, torch.ones(4000, 1, 4, 4), s, generator())
    x, t, _ = model.seen[0]
    early = t < 100
    expected = s.alphas_cumprod[t[early]].sqrt().mean()
    assert float(x[early].mean()) == pytest.approx(float(expected), abs=0.01)


def test_a_share_of_the_labels_becomes_no_class() -> None:
    model, labels = Recorder(classes=10), torch.arange(5000) % 10
    training_loss(model, torch.zeros(5000, 1, 1, 1), PaperDDPMScheduler(10), generator(), labels, class_dropout=0.2)
    seen = model.seen[0][2]
    assert seen is not None
    assert float((seen == 10).float().mean()) == pytest.approx(0.2, abs=0.02)
    kept = seen != 10
    assert torch.equal(seen[kept], labels[kept])


def test_the_same_generator_gives_the_same_loss_and_labels_do_not_shift_its_noise() -> None:
    s, images = PaperDDPMScheduler(10), torch.randn(8, 1, 4, 4)
    plain = training_loss(Recorder(), images, s, generator(5))
    assert torch.equal(plain, training_loss(Recorder(), images, s, generator(5)))
    with_labels = training_loss(Recorder(classes=3), images, s, generator(5), torch.zeros(8, dtype=torch.long))
    assert torch.equal(plain, with_labels)
    assert not torch.equal(plain, training_loss(Recorder(), images, s, generator(6)))


def test_bad_arguments_get_a_sentence_that_names_the_cure() -> None:
    s, x = PaperDDPMScheduler(10), torch.zeros(4, 1, 2, 2)
    with pytest.raises(ArgumentError, match="leave out class_labels"):
        training_loss(Recorder(), x, s, generator(), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ShapeError, match="4 class labels"):
        training_loss(Recorder(classes=2), x, s, generator(), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ShapeError, match=r"\(N, C, H, W\)"):
        training_loss(Recorder(), x[0], s, generator())

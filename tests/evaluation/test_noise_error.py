"""The error of the predicted noise against cases that are known in closed form."""

from __future__ import annotations

import pytest
import torch

from aliasfree.errors import AliasfreeError
from aliasfree.evaluation import noise_error


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_the_best_answer_about_white_images_has_the_error_of_theory(kept):
    """White images of variance s: E[noise | x] = sqrt(1 - a) / (a s + 1 - a) x, with error a s / (a s + 1 - a)."""
    s = 0.3
    images = s**0.5 * torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    gain = (1 - kept) ** 0.5 / (kept * s + 1 - kept)
    errors = noise_error(lambda x, _: gain * x, images, torch.full((400,), kept))
    assert errors.mean().item() == pytest.approx(kept * s / (kept * s + 1 - kept), rel=0.03)
    for other in (0.8 * gain, 1.2 * gain):
        assert noise_error(lambda x, _, g=other: g * x, images, torch.full((400,), kept)).mean() > errors.mean()


def test_every_network_meets_the_same_noise_in_any_batch():
    images, kept = torch.zeros(10, 3, 8, 8), torch.linspace(0.1, 0.9, 10)
    seen = []

    def fn(x, numbers):
        seen.append(x)
        assert len(x) == len(numbers)
        return torch.zeros_like(x)

    whole = noise_error(fn, images, kept)
    parts = noise_error(fn, images, kept, batch_size=3)
    assert torch.equal(seen[0], torch.cat(seen[1:]))
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=0)
    assert not torch.equal(whole, noise_error(fn, images, kept, seed=1))


@pytest.mark.parametrize(("images", "kept"), [
    (torch.zeros(4, 8, 8), torch.zeros(4)),
    (torch.zeros(4, 1, 8, 8), torch.zeros(3)),
    (torch.zeros(4, 1, 8, 8), torch.full((4,), 1.5)),
    (torch.zeros(0, 1, 8, 8), torch.zeros(0)),
])  # fmt: skip
def test_what_cannot_be_noised_is_refused(images, kept):
    with pytest.raises(AliasfreeError):
        noise_error(lambda x, _: x, images, kept)

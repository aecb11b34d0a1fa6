"""The order of images and every random draw depend on seed, rank, step and image alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aliasfree.training.stream import ImageStream, augment, derived_seed, step_generator, uniform_draws


class Numbered:
    """Images whose first pixel is their index."""

    def __init__(self, count: int) -> None:
        self.images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(8, -1).repeat(8, -2)
        self.labels = np.arange(count) * 10

    def __len__(self) -> int:
        return len(self.images)


def indices(data, seen, **kwargs):
    stream = ImageStream(data, **{"seed": 1, "batch_size": 4, **kwargs})
    try:
        return stream.next(seen).indices.tolist()
    finally:
        stream.close()


def test_every_epoch_is_a_permutation_and_no_two_are_alike():
    data = Numbered(10)
    seen = [i for step in range(5) for i in indices(data, 4 * step)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_images_and_labels_belong_to_the_indices():
    stream = ImageStream(Numbered(10), seed=1, batch_size=4)
    batch = stream.next(0)
    stream.close()
    assert batch.images[:, 0, 0, 0].tolist() == batch.indices.tolist()
    assert batch.labels.tolist() == (batch.indices * 10).tolist()


def test_two_processes_see_together_what_one_with_twice_the_batch_sees():
    data = Numbered(10)
    for step in range(4):
        one = indices(data, 8 * step, batch_size=8)
        parts = [indices(data, 8 * step, rank=rank, world_size=2) for rank in range(2)]
        assert parts[0] == one[0::2]
        assert parts[1] == one[1::2]


def test_a_stream_entered_in_the_middle_goes_on_as_if_read_from_the_start():
    data = Numbered(10)
    stream = ImageStream(data, seed=1, batch_size=4)
    from_start = [stream.next(4 * step).indices.tolist() for step in range(6)]
    stream.close()
    assert [indices(data, 4 * step) for step in range(6)] == from_start


def test_draws_of_a_step_differ_between_ranks_and_steps_and_repeat():
    def draw(*numbers):
        return torch.rand(4, generator=step_generator(*numbers)).tolist()

    assert draw(1, 0, 5) == draw(1, 0, 5)
    assert len({tuple(draw(seed, rank, step)) for seed in (1, 2) for rank in (0, 1) for step in (5, 6)}) == 8
    assert derived_seed(1, 2) != derived_seed(2, 1)


def test_augmentation_draws_are_uniform_and_independent_over_images_and_epochs():
    n = 20_000
    a = uniform_draws(3, np.zeros(n, int), np.arange(n))
    b = uniform_draws(3, np.ones(n, int), np.arange(n))
    for draws in (a, b):
        assert np.abs(np.histogram(draws, 10, (0, 1))[0] / n - 0.1).max() < 0.01
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.03


@pytest.mark.parametrize("kind", ["flip", "rotate"])
def test_an_image_is_augmented_by_its_index_and_epoch_whatever_the_batch(kind):
    x = torch.rand(6, 1, 8, 8) * 2 - 1
    epochs, chosen = np.zeros(6, int), np.arange(6)
    whole = augment(x, kind, 7, epochs, chosen)[0]
    single = torch.cat([augment(x[i : i + 1], kind, 7, epochs[i : i + 1], chosen[i : i + 1])[0] for i in range(6)])
    torch.testing.assert_close(single, whole, rtol=0, atol=1e-6)
    assert not torch.equal(whole, augment(x, kind, 7, epochs + 1, chosen)[0])
    assert whole.abs().max() <= 1


def test_flip_mirrors_half_of_the_images_and_none_changes_nothing():
    x = torch.rand(400, 1, 8, 8)
    flipped = augment(x, "flip", 0, np.zeros(400, int), np.arange(400))[0]
    mirrored = (flipped == x.flip(-1)).flatten(1).all(1)
    unchanged = (flipped == x).flatten(1).all(1)
    assert (mirrored ^ unchanged).all()
    assert 160 < int(mirrored.sum()) < 240
    assert augment(x, "none", 0, np.zeros(400, int), np.arange(400))[0] is x


def test_a_turned_image_continues_its_edge_into_the_corners():
    x = -torch.ones(8, 1, 16, 16)
    x[:, :, 6:10, 1:15] = 1.0  # a bar whose end a periodic turn by 45 degrees would bring into a corner
    turned = augment(x, "rotate", 3, np.zeros(8, int), np.arange(8))[0]
    corners = turned[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() < -0.99
    assert turned.amax((1, 2, 3)).min() > 0.9

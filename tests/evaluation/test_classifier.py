from __future__ import annotations

import json

import pytest
import torch

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.evaluation.classifier import (
    Classifier,
    Shape,
    _decoys,
    _shifted,
    accepted_share,
    accuracy,
    cached_classifier,
    train_classifier,
)


def bars(n: int, channels: int = 1, size: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy horizontal (0) and vertical (1) bars at random places."""
    g = torch.Generator().manual_seed(seed)
    images = torch.full((n, channels, size, size), -0.8)
    labels = torch.arange(n) % 2
    for k in range(n):
        place = int(torch.randint(1, size - 1, (), generator=g))
        images[k].select(1 + int(labels[k]), place).fill_(0.8)
    return images + 0.1 * torch.randn(images.shape, generator=g), labels


@pytest.fixture(scope="module")
def trained() -> Classifier:
    return train_classifier(*bars(400), epochs=25, width=8)


def test_it_learns_what_a_class_is_and_holds_out(trained) -> None:
    assert accuracy(trained, *bars(200, seed=1)) > 0.97


def test_it_accepts_real_images_and_refuses_noise_and_scrambled_ones(trained) -> None:
    images, _ = bars(200, seed=2)
    g = torch.Generator().manual_seed(0)
    scrambled = images.flatten(1)[:, torch.randperm(64, generator=g)].view_as(images)
    assert accepted_share(trained, images) > 0.9
    assert accepted_share(trained, torch.randn(images.shape, generator=g).clamp(-1, 1)) < 0.1
    assert accepted_share(trained, scrambled) < 0.2


def test_a_higher_confidence_accepts_fewer(trained) -> None:
    a, b = bars(100, seed=3)[0], bars(100, seed=4)[0]
    blends = a * torch.linspace(0, 1, 100).view(-1, 1, 1, 1) + b.flip(0) * torch.linspace(1, 0, 100).view(-1, 1, 1, 1)
    shares = [accepted_share(trained, blends, c) for c in (0.5, 0.9, 0.999)]
    assert shares[0] == 1.0  # of two classes one always has half
    assert shares[0] > shares[1] > shares[2]


def test_probabilities_do_not_depend_on_the_batch_or_on_the_mode(trained) -> None:
    images, _ = bars(20)
    expected = trained.probabilities(images)
    trained.train()
    got = trained.probabilities(images, batch_size=3)
    assert trained.training
    trained.eval()
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(expected.sum(1), torch.ones(20))


def test_a_seed_fixes_the_weights_and_spares_the_global_generator() -> None:
    torch.manual_seed(5)
    data = bars(64)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first = train_classifier(*data, epochs=1, width=4, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(8)
    again = train_classifier(*data, epochs=1, width=4, seed=3)
    other = train_classifier(*data, epochs=1, width=4, seed=4)
    a, b, c = (m.state_dict() for m in (first, again, other))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["head.1.weight"], c["head.1.weight"])


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 12), (1, 28), (3, 64)])
def test_sizes_from_8_to_64_and_both_channel_counts_work(channels: int, size: int) -> None:
    model = train_classifier(*bars(8, channels, size), epochs=1, width=4)
    assert model.probabilities(torch.zeros(5, channels, size, size)).shape == (5, 2)
    assert model.probabilities(torch.zeros(0, channels, size, size)).shape == (0, 2)


def test_progress_counts_every_step_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    train_classifier(*bars(300), epochs=2, width=4, progress=lambda k, n: seen.append((k, n)))
    assert seen == [(k, 6) for k in range(1, 7)]


def test_shifts_move_whole_images_by_at_most_a_sixteenth() -> None:
    images = torch.rand(64, 3, 16, 16)
    moved = _shifted(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    found = set()
    for image, after in zip(images, moved, strict=True):
        fits = [
            (dy, dx)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if torch.equal(after[:, 1:-1, 1:-1], image.roll((dy, dx), (1, 2))[:, 1:-1, 1:-1])
        ]
        assert len(fits) == 1
        found.add(fits[0])
    assert len(found) == 9


def test_decoys_keep_the_pixels_of_the_shuffled_half_and_the_statistics_of_the_noise_half() -> None:
    images = torch.rand(8, 1, 16, 16) - 0.5
    for seed in range(4):
        decoys = _decoys(images, torch.Generator().manual_seed(seed))
        assert decoys.shape == images.shape
        assert torch.equal(decoys[4:].flatten().sort().values, images[4:].flatten().sort().values)
        assert not torch.equal(decoys[4:], images[4:])
        torch.testing.assert_close(decoys[:4].std((1, 2, 3)), images[:4].std((1, 2, 3)), rtol=0.2, atol=0)


def test_the_file_is_used_again_and_replaced_when_data_or_settings_change(tmp_path) -> None:
    path = tmp_path / "deep" / "classifier.safetensors"
    train, test = bars(64), bars(40, seed=1)
    model, score = cached_classifier(path, *train, *test, epochs=2, width=4)
    first = path.stat().st_mtime_ns
    again, same = cached_classifier(path, *train, *test, epochs=2, width=4)
    assert path.stat().st_mtime_ns == first
    assert same == score == json.loads(path.with_suffix(".json").read_text())["accuracy"]
    torch.testing.assert_close(again.probabilities(test[0]), model.probabilities(test[0]), rtol=0, atol=1e-6)
    cached_classifier(path, train[0] + 0.01, train[1], *test, epochs=2, width=4)
    second = path.stat().st_mtime_ns
    assert second != first
    cached_classifier(path, train[0] + 0.01, train[1], *test, epochs=2, width=4, seed=9)
    assert path.stat().st_mtime_ns != second


def test_a_damaged_file_is_not_used(tmp_path) -> None:
    path = tmp_path / "classifier.safetensors"
    train, test = bars(64), bars(40, seed=1)
    cached_classifier(path, *train, *test, epochs=1, width=4)
    good = path.read_bytes()
    path.write_bytes(good[:-4] + b"oops")
    cached_classifier(path, *train, *test, epochs=1, width=4)
    assert path.read_bytes() == good


def test_what_cannot_be_learned_from_is_refused_with_the_cure() -> None:
    images, labels = bars(8)
    with pytest.raises(ShapeError, match="at least 8x8"):
        train_classifier(images[..., :4], labels)
    with pytest.raises(ShapeError, match="8 labels"):
        train_classifier(images, labels[:5])
    with pytest.raises(ArgumentError, match="data with labels"):
        train_classifier(images, labels - 1)
    with pytest.raises(ArgumentError, match="epochs"):
        train_classifier(images, labels, epochs=0)
    with pytest.raises(ShapeError, match="1 channels"):
        Classifier(Shape(1, 2, 4)).probabilities(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ArgumentError, match="confidence"):
        accepted_share(Classifier(Shape(1, 2, 4)), images, 0)

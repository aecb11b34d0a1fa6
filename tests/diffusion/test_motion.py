"""Transforms done in shares, their schedule, and the memory of schedulers that moves along."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from aliasfree.diffusion import Motion, MotionSchedule, Rotation, Translation, Zoom
from aliasfree.diffusion.history import move_history
from aliasfree.diffusion.noise import per_sample_generators, sample_generators
from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.ops import rotate2d, translate2d, zoom2d


def blob(n: int = 48) -> Tensor:
    y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) - (n - 1) / 2] * 2, indexing="ij")
    return torch.exp(-((y + 4) ** 2 / 18 + (x - 3) ** 2 / 30))[None, None]


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


MOTIONS = {
    "rotation": {"rotate": 50.0},
    "translation": {"translate": (3.3, -2.0)},
    "zoom": {"zoom": 1.25},
    "all three": {"rotate": 50.0, "translate": (3.3, -2.0), "zoom": 1.25},
}


def motion_of(**amounts) -> Motion:
    return Motion.of(
        **({"rotate": 0.0, "translate": (0.0, 0.0), "zoom": 1.0} | amounts), method="fourier", schedule=(0, 1)
    )


@pytest.mark.parametrize("name", MOTIONS)
def test_many_small_shares_make_the_whole(name: str) -> None:
    motion, x = motion_of(**MOTIONS[name]), blob()
    y = x
    for i in range(20):
        y = motion.move(y, i / 20, (i + 1) / 20)
    assert relative(y, motion.move(x, 0.0, 1.0)) < 1e-4
    assert relative(y, x) > 0.1


def test_together_the_image_is_turned_and_zoomed_about_its_centre_and_then_shifted() -> None:
    x = blob()
    expected = translate2d(zoom2d(rotate2d(x, 50.0), 1.25), 3.3, -2.0)
    assert relative(motion_of(**MOTIONS["all three"]).move(x, 0.0, 1.0), expected) < 1e-12


def test_what_moves_nothing_is_left_out() -> None:
    assert not motion_of()
    assert [type(t) for t in motion_of(translate=(0.0, 1.0)).transforms] == [Translation]
    assert [type(t) for t in motion_of(rotate=[0.0], zoom=2.0).transforms] == [Zoom]


def test_each_sample_may_have_its_own_amount() -> None:
    x = torch.cat([blob(), blob().flip(3)])
    motion = Motion.of([10.0, -20.0], (torch.tensor([1.0, 2.0]), 0.5), [1.1, 1.0], "fourier", (0, 1), batch_size=2)
    y = motion.move(x, 0.2, 0.7)
    for i, amounts in enumerate(((10.0, (1.0, 0.5), 1.1), (-20.0, (2.0, 0.5), 1.0))):
        alone = motion_of(rotate=amounts[0], translate=amounts[1], zoom=amounts[2])
        assert relative(y[i : i + 1], alone.move(x[i : i + 1], 0.2, 0.7)) < 1e-10
    with pytest.raises(ShapeError, match="each of the 2 samples"):
        Motion.of([1.0, 2.0, 3.0], (0, 0), 1.0, "fourier", (0, 1), batch_size=2)


def test_the_window_says_when_the_motion_happens() -> None:
    schedule = MotionSchedule((0.5, 0.75))
    assert [schedule.share(p) for p in (0, 0.5, 0.625, 0.75, 1)] == [0, 0, 0.5, 1, 1]
    assert [MotionSchedule((0.9, 0.9)).share(p) for p in (0.8, 0.9, 1)] == [0, 1, 1]
    assert MotionSchedule(lambda p: p**2).share(0.5) == 0.25
    for bad in ((0.5, 0.2), (-0.1, 1), (0, 1.5), (0.5,), (float("nan"), 1)):
        with pytest.raises(ArgumentError, match="0 <= start <= end <= 1"):
            MotionSchedule(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Rotation(3601.0), r"within \+-3600"),
        (lambda: Rotation((1.0, float("nan"))), r"within \+-3600, not nan"),
        (lambda: Zoom(0.05), "between 0.1 and 10"),
        (lambda: Translation(float("inf"), 0.0), "finite numbers of pixels"),
    ],
)
def test_amounts_out_of_range_are_refused(build, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        build()


def test_the_history_is_found_wherever_a_scheduler_keeps_it() -> None:
    shape = torch.Size([2, 1, 4, 4])
    image, other = torch.ones(shape), torch.ones(2, 1, 4)
    inner = SimpleNamespace(last_sample=torch.ones(shape), set_timesteps=None)
    scheduler = SimpleNamespace(
        sample=image, same=image, outputs=[None, torch.ones(shape)], pair=(torch.ones(shape), 3), other=other,
        ring=deque([torch.ones(shape)], maxlen=2), by_name={"a": torch.ones(shape)}, solver=inner,
        count=torch.ones(shape, dtype=torch.long), name="x", _internal_dict={"config": image},
    )  # fmt: skip
    assert move_history(scheduler, shape, lambda x: x * 2) == 6
    assert scheduler.sample is scheduler.same
    moved = (scheduler.sample, scheduler.outputs[1], scheduler.pair[0], scheduler.ring[0], scheduler.by_name["a"])
    assert all(float(t.mean()) == 2 for t in (*moved, inner.last_sample))
    assert scheduler.ring.maxlen == 2
    assert scheduler.other is other
    assert float(scheduler.count.float().mean()) == 1
    assert float(image.mean()) == 1  # a new tensor, not a change in place: the sample may be the same object
    assert scheduler._internal_dict["config"] is image


def test_a_samples_generator_depends_on_seed_and_index_only() -> None:
    a = [torch.randn(3, generator=g) for g in sample_generators(5, [0, 1, 7])]
    b = [torch.randn(3, generator=g) for g in sample_generators(5, [7, 0])]
    assert torch.equal(a[2], b[0])
    assert torch.equal(a[0], b[1])
    assert not torch.equal(a[0], a[1])
    assert not torch.equal(a[0], torch.randn(3, generator=sample_generators(6, [0])[0]))
    with pytest.raises(ArgumentError, match="0 or more"):
        sample_generators(-1, [0])


def test_torchs_global_seed_makes_samples_repeatable() -> None:
    torch.manual_seed(3)
    a = torch.randn(2, generator=per_sample_generators(None, 2)[1])
    torch.manual_seed(3)
    assert torch.equal(a, torch.randn(2, generator=per_sample_generators(None, 2)[1]))

"""What a step's learning rate is."""

from __future__ import annotations

import pytest
import torch

from aliasfree.training import RunSettings, train
from aliasfree.training.learning_rate import learning_rate


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_it_rises_over_the_warm_up_and_is_that_of_diffusers_after_it(schedule):
    from diffusers.optimization import get_scheduler

    settings = RunSettings(data="digits", config="A", out="run", lr=0.1, lr_warmup=4, lr_schedule=schedule)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    theirs = get_scheduler(name, optimizer, num_warmup_steps=4, num_training_steps=20)
    for step in range(1, 21):
        given = learning_rate(settings, step, 20)
        assert 0 < given <= 0.1
        if step > 4:
            assert given == pytest.approx(theirs.get_last_lr()[0])
        else:
            assert given == pytest.approx(0.1 * step / 4)
        optimizer.step()
        theirs.step()


def test_the_step_is_made_with_it(tmp_path, digits, make_settings, quiet):
    moved = []
    for warmup in (1, 1000):
        settings = make_settings(
            tmp_path / str(warmup), steps=1, lr=1e-2, lr_warmup=warmup, weight_decay=0.0, ema_decay=0.0
        )
        moved.append(train(settings, digits, console=quiet).load_model().state_dict()["inc.conv1.weight"])
    assert (moved[0] - moved[1]).abs().max().item() == pytest.approx(1e-2 * 0.999, rel=1e-3), "AdamW's first step is lr"

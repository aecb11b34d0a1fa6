"""The studio's queue: one job computes at a time, quick ones go through, any can be cancelled, and it is bounded."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch.overrides import TorchFunctionMode

from aliasfree.app.jobs import Jobs
from aliasfree.errors import ArgumentError


@pytest.fixture
def jobs():
    queue = Jobs(waiting=4)
    yield queue
    queue.close()


def steps(n, at_step=lambda k: None):
    def work(job):
        for k in range(n):
            at_step(k)
            job.report(k + 1, n)
        return n

    return work


def test_one_job_computes_at_a_time(jobs):
    inside, most = 0, 0

    def busy(_):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.002)
        inside -= 1

    made = [jobs.submit(f"v{k}", "x", "x", steps(20, busy), quick=k % 2 == 0) for k in range(4)]
    assert all(jobs.wait(job, 10) for job in made)
    assert [job.result for job in made] == [20] * 4
    assert most == 1


def test_a_quick_job_goes_through_a_long_one_between_two_of_its_steps(jobs):
    begun, order = threading.Event(), []

    def long(k):
        begun.set()
        order.append("long")
        time.sleep(0.005)

    first = jobs.submit("a", "film", "film", steps(40, long))
    begun.wait(5)
    quick = jobs.submit("b", "move", "move", lambda job: order.append("quick"), quick=True)
    assert jobs.wait(quick, 5)
    assert not first.over
    assert jobs.wait(first, 5)
    assert order.count("long") == 40
    assert order.index("quick") < 39


def test_what_a_long_job_switches_in_torch_does_not_reach_a_quick_one(jobs):
    class Ones(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return torch.ones(1) if func is torch.zeros else func(*args, **(kwargs or {}))

    begun = threading.Event()

    def long(job):
        with Ones():
            begun.set()
            for k in range(200):
                time.sleep(0.002)
                job.report(k, 200)
            return torch.zeros(1).item()

    first = jobs.submit("a", "film", "film", long)
    begun.wait(5)
    quick = jobs.submit("b", "move", "move", lambda _: torch.zeros(1).item(), quick=True)
    assert jobs.wait(quick, 5)
    assert (first.over, quick.result) == (False, 0.0)
    assert jobs.wait(first, 10)
    assert first.result == 1.0


def test_a_job_is_cancelled_between_two_steps_and_a_waiting_one_never_begins(jobs):
    begun = threading.Event()
    running = jobs.submit("a", "x", "x", steps(10_000, lambda k: (begun.set(), time.sleep(0.001))))
    waiting = jobs.submit("b", "x", "x", lambda _: pytest.fail("it began"))
    begun.wait(5)
    assert jobs.ahead(waiting) == 1
    jobs.cancel(waiting)
    jobs.cancel(running)
    assert jobs.wait(running, 5)
    assert (running.state, waiting.state) == ("cancelled", "cancelled")
    assert running.done < 10_000


def test_a_newer_quick_job_of_a_kind_takes_the_place_of_the_older_one(jobs):
    begun = threading.Event()
    first = jobs.submit("a", "move", "m", steps(10_000, lambda k: (begun.set(), time.sleep(0.001))), quick=True)
    begun.wait(5)
    second = jobs.submit("a", "move", "m", steps(1), quick=True)
    other = jobs.submit("b", "move", "m", steps(1), quick=True)
    assert jobs.wait(second, 5)
    assert jobs.wait(other, 5)
    assert [j.state for j in (first, second, other)] == ["cancelled", "done", "done"]


def test_the_queue_is_bounded_and_a_visitor_has_one_long_job(jobs):
    begun, release = threading.Event(), threading.Event()
    jobs.submit("a", "x", "first", lambda _: (begun.set(), release.wait(10)))
    begun.wait(5)
    with pytest.raises(ArgumentError, match="“first” is not over yet"):
        jobs.submit("a", "y", "second", steps(1))
    for k in range(4):
        jobs.submit(f"v{k}", "x", "x", steps(1))
    with pytest.raises(ArgumentError, match="busy: 4 jobs are waiting"):
        jobs.submit("v4", "x", "x", steps(1))
    release.set()


def test_an_error_is_one_sentence_and_a_bug_goes_to_the_terminal(jobs, capsys):
    def wrong(_):
        raise ArgumentError("This is wrong; do that.")

    def bug(_):
        raise KeyError("inside")

    told, broken = jobs.submit("a", "x", "x", wrong), jobs.submit("b", "x", "x", bug)
    assert jobs.wait(told, 5)
    assert jobs.wait(broken, 5)
    assert (told.state, told.error) == ("failed", "This is wrong; do that.")
    assert broken.error == "The studio has a bug here (KeyError); the terminal it runs in shows where."
    assert "KeyError: 'inside'" in capsys.readouterr().err


def test_the_time_left_follows_the_pace(jobs):
    half = threading.Event()
    go_on = threading.Event()

    def at(k):
        time.sleep(0.02)
        if k == 5:
            half.set()
            go_on.wait(5)

    job = jobs.submit("a", "x", "x", steps(10, at))
    half.wait(5)
    assert 0.05 < job.seconds_left < 5
    go_on.set()
    assert jobs.wait(job, 5)
    assert job.seconds_left is None

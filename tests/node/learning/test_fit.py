"""What fits a device: memory by a formula, steps by the time that they take."""

from hypothesis import given
from hypothesis import strategies as st

from banyan.node.learning.fit import (
    FEWEST_STEPS,
    MOST_ROWS,
    MOST_STEPS,
    SHARE,
    Shape,
    lesson_bytes,
    rows_that_fit,
    steps_that_fit,
    weight_bytes,
)
from banyan.node.learning.rehearsal import Rehearse, rehearse
from banyan.node.learning.settings import TrainingSettings

LLAMA_1B = Shape(1_235_814_400, 16, 2_048, 8_192, 512, 128_256)
ADAPTER = (10**7, 10**7)


def test_the_formula_gives_the_order_of_a_known_model():
    assert 4.9e9 < weight_bytes(LLAMA_1B.parameters) < 5e9
    one = lesson_bytes(LLAMA_1B, *ADAPTER, 512, 1)
    assert 3e9 < one < 4e9
    assert lesson_bytes(LLAMA_1B, *ADAPTER, 512, 1, 2.0) < 0.7 * one


@given(st.integers(0, 1 << 40), st.integers(8, 4096))
def test_what_is_chosen_fits_and_twice_as_much_would_not(free, tokens):
    rows = rows_that_fit(LLAMA_1B, *ADAPTER, tokens, free)
    if rows:
        assert lesson_bytes(LLAMA_1B, *ADAPTER, tokens, rows) <= SHARE * free
    if rows < MOST_ROWS:
        assert lesson_bytes(LLAMA_1B, *ADAPTER, tokens, 2 * rows or 1) > SHARE * free


def test_steps_keep_within_the_rounds_time_and_the_data():
    assert steps_that_fit(1.0, 300.0, 10_000, 8) == 90
    assert steps_that_fit(0.01, 300.0, 80, 8) == 30  # three passes over ten batches
    assert steps_that_fit(0.01, 1e6, 10**9, 8) == MOST_STEPS
    assert steps_that_fit(100.0, 60.0, 100, 8) == FEWEST_STEPS


def test_a_rehearsal_speaks_times_a_step_and_leaves_no_trace(place, some_rows):
    settings = TrainingSettings(max_length=32, device="cpu")
    job = Rehearse("/en", (), deadline=60.0)
    found = rehearse(job, place, data=[some_rows], settings=settings)
    assert [prompt.startswith("What is") for prompt, _ in found.samples] == [True, True]
    assert 1 <= found.batch <= MOST_ROWS
    assert found.steps == steps_that_fit(found.step_seconds, 60.0, _training(some_rows), found.batch)
    again = rehearse(Rehearse("/en", ()), place, data=[some_rows], settings=settings)
    assert again.samples == found.samples  # the timed steps did not train the model
    assert (again.batch, again.steps) == (None, None)


def _training(rows):
    from banyan.node.learning.dataset import load_dataset

    return len(load_dataset([rows]).training)

"""Each row is drawn by its own temperature and top-p, from the distribution that they say."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from banyan.node.serving.sampling import choose

LOGITS = torch.tensor([2.0, 0.5, 1.0, -1.0, 0.0])


def frequencies(temperature, top_p, draws=4_000):
    """How often each token comes at evenly spread draws."""
    even = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws
    same = torch.ones(draws, dtype=torch.float64)
    chosen = choose(LOGITS.expand(draws, -1), temperature * same, top_p * same, even)
    return np.bincount(chosen.numpy(), minlength=5) / draws


def test_temperature_zero_takes_the_likeliest_whatever_is_drawn():
    assert frequencies(0.0, 1.0).tolist() == [1, 0, 0, 0, 0]


def test_tokens_come_as_often_as_the_softmax_says():
    for temperature in (0.5, 1.0, 1.7):
        expected = torch.softmax(LOGITS.double() / temperature, 0).numpy()
        np.testing.assert_allclose(frequencies(temperature, 1.0), expected, atol=1e-3)


def test_top_p_keeps_the_fewest_tokens_that_reach_it_in_their_proportions():
    likely = torch.softmax(LOGITS.double(), 0)
    assert likely[0] + likely[2] < 0.8 < likely[0] + likely[2] + likely[1]
    kept = torch.tensor([likely[0], likely[1], likely[2], 0, 0])
    np.testing.assert_allclose(frequencies(1.0, 0.8), (kept / kept.sum()).numpy(), atol=1e-3)
    assert frequencies(1.0, 1e-6).tolist() == [1, 0, 0, 0, 0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=20),
    st.floats(0.0, 2.0),
    st.floats(1e-6, 1.0),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_a_row_among_others_gets_the_token_it_gets_alone(logits, temperature, top_p, draw):
    def numbers(*values):
        return torch.tensor(values, dtype=torch.float64)

    row = torch.tensor(logits)
    alone = choose(row[None], numbers(temperature), numbers(top_p), numbers(draw))
    rows = torch.stack([row.flip(0), row, -row])
    among = choose(rows, numbers(0.0, temperature, 1.5), numbers(1.0, top_p, 0.5), numbers(0.1, draw, 0.9))
    assert among[1] == alone[0]

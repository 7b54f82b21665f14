"""Answers written together are those written alone; a new release takes over without a word being lost."""

import queue

import pytest
import torch

from banyan.node.serving.engine import Engine, EngineLimits
from banyan.node.serving.errors import RequestRefused
from banyan.node.serving.generation import Wish
from banyan.node.serving.sampling import Sampling

GREEDY = Sampling(temperature=0.0)
PROMPTS = [tuple(range(5, 5 + n)) for n in (1, 9, 3, 30, 2, 17)]


@pytest.fixture
def make(base, vector_of):
    """Engines that serve the adapter of seed 1 as release "one"; closed at the end."""
    made = []

    def build(start=True, **limits):
        engine = Engine(base, EngineLimits(**limits))
        engine.serve("one", vector_of(1))
        made.append(engine)
        if start:
            engine.start()
        return engine

    yield build
    for engine in made:
        engine.close()


class Heard:
    """Listens to answers by number and waits for their ends."""

    def __init__(self):
        self.pieces = queue.SimpleQueue()

    def listener(self, number):
        return lambda piece: self.pieces.put((number, piece))

    def all(self, count):
        """Text and last piece of ``count`` answers."""
        texts, ends = [""] * count, {}
        while len(ends) < count:
            number, piece = self.pieces.get(timeout=60)
            texts[number] += piece.text
            if piece.finish is not None:
                ends[number] = piece
        return texts, [ends[number] for number in range(count)]


def ask(engine, wishes):
    heard = Heard()
    for number, wish in enumerate(wishes):
        engine.submit(wish, heard.listener(number))
    return heard.all(len(wishes))


def by_generate(base, vector, ids, count):
    """What transformers' own loop writes greedily, as tokens."""
    with torch.inference_mode():
        given = torch.tensor([ids])
        whole = base.model_with(vector).peft.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=count,
            do_sample=False,
            use_cache=True,
            pad_token_id=0,
        )
    return whole[0, len(ids) :].tolist()


def test_each_answer_of_a_batch_is_the_one_that_generate_gives_alone(make, base, vector_of):
    texts, ends = ask(make(), [Wish(ids, 12, GREEDY) for ids in PROMPTS])
    for ids, text, end in zip(PROMPTS, texts, ends, strict=True):
        expected = by_generate(base, vector_of(1), ids, 12)
        assert text == base.tokenizer.decode(expected, skip_special_tokens=True)
        assert end.tokens == len(expected)
        assert end.finish == ("stop" if expected[-1] in base.ends else "length")


def test_a_whole_answer_is_told_once_and_is_what_its_pieces_say(make):
    engine = make()
    for ids in PROMPTS:
        [text], _ = ask(engine, [Wish(ids, 12, GREEDY, ignore_end=True)])
        for stop in ((), (text[5:7],)):
            said = []
            for whole in (False, True):
                heard = Heard()
                engine.submit(Wish(ids, 12, GREEDY, stop, True, whole), heard.listener(0))
                said.append(heard.all(1))
                assert heard.pieces.empty()
            (pieces, [end]), (once, [only]) = said
            assert once == pieces == [only.text]
            assert (only.tokens, only.finish) == (end.tokens, end.finish)


def test_answers_come_and_go_at_any_step_and_keep_their_own_lengths(make):
    wishes = [Wish(ids, 3 + 3 * i, GREEDY, ignore_end=True) for i, ids in enumerate(PROMPTS)]
    together, ends = ask(make(slots=3, prefill=16), wishes)
    assert [end.tokens for end in ends] == [wish.max_tokens for wish in wishes]
    alone = make(slots=1)
    assert together == [ask(alone, [wish])[0][0] for wish in wishes]


def test_a_seeded_answer_does_not_depend_on_its_neighbours(make):
    engine = make()
    wishes = [Wish(ids, 10, Sampling(0.5 + i / 9, 0.9, seed=i)) for i, ids in enumerate(PROMPTS)]
    together, _ = ask(engine, wishes)
    assert together == [ask(engine, [wish])[0][0] for wish in wishes]
    other, _ = ask(engine, [Wish(wish.ids, 10, Sampling(1.0, 1.0, seed=99)) for wish in wishes])
    assert other != together


def test_running_answers_end_with_their_release_and_new_ones_take_the_new(make, base, vector_of):
    engine = make()
    weights = {
        name: p.data_ptr()
        for name, p in base.model_with(vector_of(0)).peft.named_parameters()
        if "lora_B" not in name
    }
    old, new = Heard(), Heard()
    wish = Wish(PROMPTS[1], 25, GREEDY, ignore_end=True)

    def change(piece):
        old.pieces.put((0, piece))
        if piece.tokens >= 5 and engine.release == "one":
            engine.serve("two", vector_of(2))
            engine.submit(wish, new.listener(0))

    engine.submit(wish, change)
    [before], [end] = old.all(1)
    [after], [new_end] = new.all(1)
    assert (end.release, new_end.release) == ("one", "two")
    assert (end.tokens, new_end.tokens) == (25, 25)
    for text, seed in ((before, 1), (after, 2)):
        fresh = make()
        fresh.serve("again", vector_of(seed))
        assert text == ask(fresh, [wish])[0][0]
    assert before != after
    assert engine.load() == {"running": 0, "waiting": 0, "releases": 0}
    model = base.model_with(vector_of(2))
    assert weights == {
        name: p.data_ptr() for name, p in model.peft.named_parameters() if "lora_B" not in name
    }


def test_a_cancelled_answer_ends_at_the_next_token_and_frees_its_place(make):
    engine, heard = make(start=False, slots=1), Heard()
    running = []

    def stop_soon(piece):
        heard.pieces.put((0, piece))
        if piece.tokens >= 3:
            running[0].cancel()

    running.append(engine.submit(Wish(PROMPTS[0], 100, GREEDY, ignore_end=True), stop_soon))
    engine.submit(Wish(PROMPTS[2], 4, GREEDY, ignore_end=True), heard.listener(1))
    engine.start()
    _, [first, second] = heard.all(2)
    assert (first.finish, second.finish, second.tokens) == ("cancelled", "length", 4)
    assert first.tokens < 100


def test_one_that_is_cancelled_while_it_waits_is_never_begun(make):
    engine, heard = make(start=False), Heard()
    engine.submit(Wish(PROMPTS[0], 5, GREEDY), heard.listener(0)).cancel()
    engine.start()
    _, [end] = heard.all(1)
    assert (end.finish, end.tokens) == ("cancelled", 0)


def test_more_than_the_queue_holds_is_told_to_come_back_and_nothing_of_it_is_begun(make):
    engine = make(start=False, queue=2)
    with pytest.raises(RequestRefused, match="requests wait already") as caught:
        engine.submit_all([Wish(PROMPTS[0], 5)] * 3, lambda *_: None)
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert engine.load()["waiting"] == 0


def test_a_prompt_as_long_as_the_context_is_refused_and_a_shorter_one_gets_what_is_left(make, base):
    engine = make()
    with pytest.raises(RequestRefused, match="128") as caught:
        engine.submit(Wish((5,) * base.context, 1), lambda _: None)
    assert caught.value.code == "context_length_exceeded"
    _, [end] = ask(engine, [Wish((5,) * (base.context - 3), 999, GREEDY, ignore_end=True)])
    assert (end.finish, end.tokens) == ("length", 3)


class Breakable:
    """A base in memory whose models fail on a prompt of one token."""

    def __init__(self, base):
        self.context, self.tokenizer = base.context, base.tokenizer
        self.device, self.ends, self.model_with = base.device, base.ends, base.model_with
        self._base = base

    def forward_of(self, model):
        forward = self._base.forward_of(model)

        def perhaps(ids, mask, cache):
            if mask.shape == (1, 1):
                raise RuntimeError("broken")
            return forward(ids, mask, cache)

        return perhaps


def test_a_prompt_on_which_the_model_fails_fails_alone_and_the_engine_goes_on(base, vector_of):
    engine, heard = Engine(Breakable(base), EngineLimits(prefill=1)), Heard()
    engine.serve("one", vector_of(1))
    for number, ids in enumerate((PROMPTS[1], (5,), PROMPTS[2])):
        engine.submit(Wish(ids, 30, GREEDY, ignore_end=True), heard.listener(number))
    engine.start()
    _, ends = heard.all(3)
    assert [end.finish for end in ends] == ["length", "error", "length"]
    assert "The model failed (RuntimeError)" in str(ends[1].error)
    engine.close()


def test_a_stopped_engine_says_so_to_those_who_wait(make):
    engine, heard = make(start=False), Heard()
    engine.submit(Wish(PROMPTS[0], 5), heard.listener(0))
    engine.close()
    _, [end] = heard.all(1)
    assert "The server was stopped" in str(end.error)
    with pytest.raises(RequestRefused, match="stopping"):
        engine.submit(Wish(PROMPTS[0], 5), heard.listener(0))

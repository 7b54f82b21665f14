"""Flower ClientApps, ours and a user's, called as a server would call them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import AutoModelForCausalLM

from banyan.node.learning.errors import AppError, DataError, LearningError
from banyan.node.learning.flower import LocalClient, load_app
from banyan.node.learning.lesson import Lesson
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.train_job import train
from banyan.node.learning.workplace import OWN_APP, Workplace
from banyan.protocol.effects import Train

SETTINGS = TrainingSettings(steps=4, batch=4, max_length=32, learning_rate=0.05, device="cpu")

Answer = Callable[[Message, Context], RecordDict]


def app_that(answers: Answer) -> ClientApp:
    app = ClientApp()

    @app.train()
    def _(message: Message, context: Context) -> Message:
        return Message(answers(message, context), reply_to=message)

    return app


def ask(place: Workplace, app: ClientApp, kind: str = "train", data: tuple[Path, ...] = ()):
    return LocalClient(app, place).ask(kind, lesson_at(place, data))


def lesson_at(place: Workplace, data: tuple[Path, ...]) -> Lesson:
    zero = np.zeros(place.spec.dimension, np.float32)
    return Lesson(vector=zero, data=data, settings=SETTINGS, branch="/en", height=0, seed=1)


def test_our_app_trains_and_evaluates(place: Workplace, some_rows: Path) -> None:
    app = load_app(OWN_APP)
    vector, trained = ask(place, app, data=(some_rows,))
    assert vector is not None
    assert vector.any()
    assert trained["loss_after"] < trained["loss_before"]
    nothing, measured = ask(place, app, "evaluate", (some_rows,))
    assert nothing is None
    assert measured["loss"] == pytest.approx(trained["loss_before"])


def test_a_whole_training_job_runs_through_our_app(place: Workplace, some_rows: Path) -> None:
    client = LocalClient(load_app(OWN_APP), place)
    job = Train("/en", 0, b"b" * 32, (), ())
    done = train(job, place, client, data=[some_rows], settings=SETTINGS)
    assert done.metrics["rows"] == 16
    again = train(job, place, client, data=[some_rows], settings=SETTINGS)
    assert (done.blob, done.carry) == (again.blob, again.carry)


def test_bad_data_is_named_through_flower(place: Workplace, write_rows: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="line 2"):
        ask(place, load_app(OWN_APP), data=(write_rows([{"text": "a"}, {"text": 1}]),))


def test_a_users_app_gets_the_adapter_under_pefts_names_and_its_settings(place: Workplace) -> None:
    seen: dict[str, object] = {}

    def look(message: Message, context: Context) -> RecordDict:
        arrays = message.content["arrays"].to_torch_state_dict()
        seen.update(names=set(arrays), lr=message.content["config"]["lr"], data=context.node_config["data"])
        seen["count"] = int(context.state.get("count", MetricRecord({"n": 0}))["n"]) + 1
        context.state["count"] = MetricRecord({"n": seen["count"]})
        for name in arrays:
            if "lora_B" in name:
                arrays[name] += 1
        return RecordDict(
            {"arrays": ArrayRecord(arrays), "m": MetricRecord({"train-loss": 1.5, "odd": [1.0]})}
        )

    client = LocalClient(app_that(look), place)
    for _ in range(2):
        vector, metrics = client.ask("train", lesson_at(place, (Path("d"),)))
    name = place.spec.tensors[0].name
    assert {f"base_model.model.{name}.lora_{factor}.weight" for factor in "AB"} <= seen["names"]
    assert (seen["lr"], seen["data"], seen["count"]) == (0.05, '["d"]', 2)
    np.testing.assert_array_equal(vector, np.ones(place.spec.dimension, np.float32))
    assert metrics == {"train_loss": 1.5}


def test_an_ordinary_flower_lora_app_runs_as_it_is_once_it_freezes_a(place: Workplace) -> None:
    """Written as Flower's own examples are: PEFT's state dict in, PEFT's state dict out."""

    def fine_tune(message: Message, context: Context) -> RecordDict:
        model = AutoModelForCausalLM.from_pretrained(context.node_config["base_model"])
        config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, config)
        set_peft_model_state_dict(model, message.content["arrays"].to_torch_state_dict())
        for name, parameter in model.named_parameters():
            if "lora_A" in name:
                parameter.requires_grad_(False)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(trainable, lr=message.content["config"]["lr"])
        ids = torch.arange(5, 21).reshape(2, 8)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimiser.step()
        metrics = MetricRecord({"train_loss": loss.item(), "val_loss": float("nan"), "num-examples": 2})
        arrays = ArrayRecord(get_peft_model_state_dict(model))
        return RecordDict({"arrays": arrays, "metrics": metrics})

    vector, metrics = ask(place, app_that(fine_tune))
    assert vector is not None
    assert np.abs(vector).max() == pytest.approx(SETTINGS.learning_rate, rel=0.01)  # one step of Adam
    assert set(metrics) == {"train_loss", "num_examples"}


def test_an_app_that_trains_a_is_told_what_to_freeze(place: Workplace) -> None:
    def train_all(message: Message, context: Context) -> RecordDict:
        arrays = {name: Array(array.numpy() + 1) for name, array in message.content["arrays"].items()}
        return RecordDict({"arrays": ArrayRecord(arrays)})

    with pytest.raises(AppError, match=r"changed A of .*Train only B: call requires_grad_\(False\)"):
        ask(place, app_that(train_all))


@pytest.mark.parametrize("spoil", ["missing", "extra", "shape", "two records"])
def test_an_answer_that_is_no_adapter_is_refused(place: Workplace, spoil: str) -> None:
    def answer(message: Message, context: Context) -> RecordDict:
        arrays = {name: a for name, a in message.content["arrays"].items() if "lora_B" in name}
        first = sorted(arrays)[0]
        if spoil == "missing":
            del arrays[first]
        elif spoil == "extra":
            arrays["lora_C"] = arrays[first]
        elif spoil == "shape":
            arrays[first] = Array(arrays[first].numpy()[:1])
        record = ArrayRecord(arrays)
        return RecordDict({"one": record, "two": record} if spoil == "two records" else {"one": record})

    with pytest.raises(LearningError, match=r"tensors|shape|2 ArrayRecords"):
        ask(place, app_that(answer))


def test_an_app_that_raises_or_does_not_know_the_message_is_named(place: Workplace) -> None:
    def fall(message: Message, context: Context) -> RecordDict:
        raise RuntimeError("boom")

    with pytest.raises(AppError, match=r"failed at train \(RuntimeError: boom\)"):
        ask(place, app_that(fall))
    with pytest.raises(AppError, match="failed at evaluate"):
        ask(place, app_that(fall), "evaluate")


@pytest.mark.parametrize(
    "name", ["nonsense", "no.such.module:app", "json:nothing", "json:dumps", ":app", "json:"]
)
def test_a_name_that_is_no_app_is_refused(name: str) -> None:
    with pytest.raises(AppError, match=r"ClientApp"):
        load_app(name)


def test_telemetry_is_off_before_flower_is_imported() -> None:
    program = "import banyan.node.learning.flower, os; print(os.environ['FLWR_TELEMETRY_ENABLED'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"

"""What the teacher writes: answers to the prompts of public text, and continuations of its beginnings.

A text drawn from the teacher's own distribution is a sample of what the student is to become (sequence-level
distillation, Kim and Rush 2016, with samples in the place of their beam search), and words need no common tokenizer.

It is written to a file, a few rows at a time. Rows are drawn with a seed of their own, so a run that was cut off goes
on where it stopped and ends with the same file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from banyan.node.learning.dataset import Row
from banyan.node.learning.learner import Learner
from banyan.node.learning.progress import Progress, report
from banyan.node.learning.tokens import conversation_ids, windows_of

#: Rows that are written at once. More: faster, and more memory.
TOGETHER = 16

#: Ids of a plain text's every stretch that the teacher continues. More: nearer to the public text, less of the teacher.
BEGINNING = 16

#: A file holds at most this many bytes; what would not fit is not written.
MOST_BYTES = 1 << 28

_TOLD = "the teacher writes"


@dataclass(frozen=True, slots=True)
class Prompt:
    """Where the teacher takes over: its ``ids``, and the ``turns`` (or the text, without a role) that they say."""

    ids: tuple[int, ...]
    turns: tuple[tuple[str, str], ...]


def prompts_of(rows: Sequence[Row], teacher: Learner, max_length: int) -> list[Prompt]:
    """The prompts of public ``rows``, in order: a conversation up to its last answer; of a plain text the beginning of
    every stretch of ``max_length`` ids. A prompt takes at most half of ``max_length``, its newest."""
    tokenizer, made = teacher.tokenizer, []
    for row in rows:
        if row.is_text:
            for ids in windows_of(row.turns[0][1], tokenizer, max_length):
                begin = ids[:BEGINNING]
                if text := tokenizer.decode(begin, skip_special_tokens=True).strip():
                    made.append(Prompt(begin, (("", text),)))
        else:
            last = max(at for at, (role, _) in enumerate(row.turns) if role == "assistant")
            ids = tuple(conversation_ids(row.turns[:last], tokenizer)[-(max_length // 2) :])
            made.append(Prompt(ids, row.turns[:last]))
    return [prompt for prompt in made if prompt.ids]


def write(
    path: Path,
    teacher: Learner,
    prompts: Sequence[Prompt],
    *,
    seed: int,
    max_length: int,
    most_bytes: int = MOST_BYTES,
) -> int:
    """Have ``teacher`` write to ``path`` what follows each of ``prompts``, up to ``max_length`` ids with the prompt, as
    JSONL rows for :mod:`~banyan.node.learning.dataset`; the bytes of the file.

    Rows that are in the file already are kept. A prompt that the teacher has nothing to say to gives no row. The same
    teacher, prompts and seed give the same file on one processor.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    done = _whole_groups(path)
    began, first = time.perf_counter(), done
    with open(path, "ab") as file:
        for at in range(done * TOGETHER, len(prompts), TOGETHER):
            group = prompts[at : at + TOGETHER]
            with _drawn_by(seed + at):
                answers = _continued(teacher, group, max_length)
            lines = [
                _line(prompt, answer, at // TOGETHER) for prompt, answer in zip(group, answers, strict=True)
            ]
            data = b"".join(lines)
            if file.tell() + len(data) > most_bytes:
                break
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            reached = min(at + TOGETHER, len(prompts))
            pace = (time.perf_counter() - began) / (at // TOGETHER - first + 1)
            left = pace * -(-(len(prompts) - reached) // TOGETHER)
            report(Progress(_TOLD, reached, len(prompts), seconds_left=left))
        return file.tell()


def _whole_groups(path: Path) -> int:
    """How many groups of rows in the file are whole; the last one, which may not be, is cut off."""
    if not path.exists():
        return 0
    lines = path.read_bytes().splitlines(keepends=True)
    numbers = []
    for line in lines:
        try:
            numbers.append(int(json.loads(line)["group"]))
        except (ValueError, KeyError, TypeError):
            break
    last = numbers[-1] if numbers else 0
    kept = sum(number < last for number in numbers)
    with open(path, "r+b") as file:
        file.truncate(sum(map(len, lines[:kept])))
    return last


def _line(prompt: Prompt, answer: str, group: int) -> bytes:
    if not answer.strip():
        return b""
    row: dict[str, object]
    if prompt.turns[0][0] == "":
        row = {"text": prompt.turns[0][1] + answer}
    else:
        turns = [*prompt.turns, ("assistant", answer.strip())]
        row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    return json.dumps(row | {"split": "train", "group": group}, ensure_ascii=False).encode("utf-8") + b"\n"


@torch.inference_mode()
def _continued(teacher: Learner, group: Sequence[Prompt], max_length: int) -> list[str]:
    """What follows each prompt, sampled from the teacher's own probabilities."""
    longest = max(len(prompt.ids) for prompt in group)
    ids = torch.full((len(group), longest), teacher.pad, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(group):  # a model goes on from the right end
        ids[row, longest - len(prompt.ids) :] = torch.tensor(prompt.ids)
        mask[row, longest - len(prompt.ids) :] = 1
    device = teacher.model.device
    said = teacher.model.peft.generate(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        max_new_tokens=max(1, min(max_length, teacher.context) - longest),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        use_cache=True,
        pad_token_id=teacher.pad,
    )
    texts = teacher.tokenizer.batch_decode(said[:, longest:], skip_special_tokens=True)
    return [text.encode("utf-8", "replace").decode("utf-8") for text in texts]


@contextmanager
def _drawn_by(seed: int) -> Iterator[None]:
    """Within the block torch draws by ``seed``; afterwards as if nothing had been drawn."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed & ((1 << 63) - 1))
        yield

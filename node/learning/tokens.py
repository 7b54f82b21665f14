"""From rows to token ids and labels: the loss falls on what the assistant says, or on a plain text's every token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banyan.node.learning.dataset import Row, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label that PyTorch's cross entropy leaves out


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence: ``ids`` and, for each, its label (the id itself, or :data:`IGNORED`)."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def targets(self) -> int:
        """How many predictions the loss is the mean of: the first token is predicted by nothing."""
        return sum(label != IGNORED for label in self.labels[1:])


def examples(rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Example]:
    """The rows as sequences of at most ``max_length`` tokens, in order.

    A long plain text becomes several sequences. A long conversation keeps its beginning, but its first prompt
    may take only half of the room, and gives up its own beginning first. Rows with nothing to predict are left out.
    """
    made = []
    for row in rows:
        if row.is_text:
            made += _windows(row.turns[0][1], tokenizer, max_length)
        else:
            made.append(_conversation(row.turns, tokenizer, max_length))
    return [example for example in made if example.targets]


def prompt_ids(prompt: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids after which the model should answer ``prompt``, in the form it was trained on."""
    return conversation_ids((("user", prompt),), tokenizer)


def conversation_ids(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids after which the model should say the next turn of a conversation, in the form it was trained on.

    Raises ``jinja2.TemplateError`` where the tokenizer's chat template does not take such turns.
    """
    *before, _ = _pieces((*turns, ("assistant", "")), tokenizer)
    return [token for piece, _ in before for token in piece]


def text_ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids after which the model should go on with ``text``, as with the plain texts that it was trained on."""
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return start + _plain_ids(tokenizer, text)


def windows_of(text: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[tuple[int, ...]]:
    """The ids of a plain text, cut into the sequences that it is learnt in."""
    return [example.ids for example in _windows(text, tokenizer, max_length)]


def _windows(text: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Example]:
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    whole = tuple(text_ids(text, tokenizer) + end)
    pieces = [whole[at : at + max_length] for at in range(0, len(whole), max_length)]
    return [Example(piece, piece) for piece in pieces]


def _conversation(turns: tuple[Turn, ...], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Example:
    pieces = _pieces(turns, tokenizer)
    room = max_length // 2
    first, is_loss = pieces[0]
    if not is_loss and len(first) > room:
        keep_start = 1 if tokenizer.bos_token_id is not None and first[0] == tokenizer.bos_token_id else 0
        pieces[0] = (first[:keep_start] + first[len(first) - room + keep_start :], False)
    ids = [token for piece, _ in pieces for token in piece]
    labels = [token if is_loss else IGNORED for piece, is_loss in pieces for token in piece]
    return Example(tuple(ids[:max_length]), tuple(labels[:max_length]))


def _pieces(turns: tuple[Turn, ...], tokenizer: PreTrainedTokenizerBase) -> list[tuple[list[int], bool]]:
    """The turns as (ids, has loss), in the form the model was trained on."""
    return _template_pieces(turns, tokenizer) if tokenizer.chat_template else _plain_pieces(turns, tokenizer)


def _template_pieces(
    turns: tuple[Turn, ...], tokenizer: PreTrainedTokenizerBase
) -> list[tuple[list[int], bool]]:
    """Alternating (ids, has loss) by the tokenizer's own chat template: what it adds per answer is learnt."""
    messages = [{"role": role, "content": content} for role, content in turns]
    pieces: list[tuple[list[int], bool]] = []
    done = ""
    for at, (role, _) in enumerate(turns):
        if role != "assistant":
            continue
        before = _render(tokenizer, messages[:at], prompt=True)
        after = _render(tokenizer, messages[: at + 1], prompt=False)
        if not (before.startswith(done) and after.startswith(before)):
            return _plain_pieces(
                turns, tokenizer
            )  # a template that rewrites the past cannot be cut in pieces
        pieces += [
            (_ids(tokenizer, before[len(done) :]), False),
            (_ids(tokenizer, after[len(before) :]), True),
        ]
        done = after
    return pieces


def _plain_pieces(
    turns: tuple[Turn, ...], tokenizer: PreTrainedTokenizerBase
) -> list[tuple[list[int], bool]]:
    """Turns a line each, for a tokenizer without a chat template; an answer ends with the end-of-text token."""
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    pieces: list[tuple[list[int], bool]] = []
    for at, (role, content) in enumerate(turns):
        answer = role == "assistant"
        body = _plain_ids(tokenizer, content) + end if answer else _plain_ids(tokenizer, content + "\n")
        pieces.append(((start if at == 0 else []) + body, answer))
    return pieces


def _render(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], *, prompt: bool) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of text that a template wrote: its special tokens count as such."""
    return list(tokenizer.encode(text, add_special_tokens=False))


def _plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of text that a person wrote: what looks like a special token in it is only text."""
    return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

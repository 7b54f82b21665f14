"""The embedded base model's tokenizer: byte-level BPE, so that any text goes in and comes out unchanged.

All 256 bytes are in the alphabet: there is no unknown token, and text in a script that was never seen costs
more tokens and loses nothing. The vocabulary is small on purpose: with tied embeddings every token costs a row
of a matrix that has to fit into a package.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from benchmarks.embedded_base.corpus import Row

PAD, BEGIN, END = "<pad>", "<s>", "</s>"
USER, ASSISTANT, SYSTEM = "<|user|>", "<|assistant|>", "<|system|>"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}<|user|>{{ message['content'] }}"
    "{% elif message['role'] == 'system' %}<|system|>{{ message['content'] }}"
    "{% else %}<|assistant|>{{ message['content'] }}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: Iterable[str], *, vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """Learn `vocabulary` tokens (special tokens and the 256 bytes included) from `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BEGIN, END, USER, ASSISTANT, SYSTEM],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def text_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Token ids of one running text between its begin and end marks."""
    ids = tokenizer.encode(text, add_special_tokens=False, verbose=False)
    return [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]


def row_ids(tokenizer: PreTrainedTokenizerFast, row: Row) -> tuple[list[int], list[int]]:
    """Token ids of one row as the chat template renders it, and the labels that count its response alone."""
    question: Sequence[dict[str, str]] = [{"role": "user", "content": row.prompt}]
    answer = [*question, {"role": "assistant", "content": row.response}]
    start = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(answer, tokenize=False)
    prefix = tokenizer.encode(start, add_special_tokens=False)
    ids = tokenizer.encode(whole, add_special_tokens=False)
    return ids, [-100] * len(prefix) + ids[len(prefix) :]

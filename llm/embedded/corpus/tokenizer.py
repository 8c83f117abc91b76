"""The embedded model's tokenizer: byte-level BPE over generated prompts and programs."""

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from llm.decision.paradigm import CODE
from llm.decision.serialize import serialize
from llm.embedded.corpus import KINDS, random_slot, sample_completion

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")


MAX_TOKEN_CHARS = 12
"""Longest piece of a program or a number's surroundings: much less than a line."""


def _instructions() -> list[str]:
    """The lines of every prompt that never change, but for those of the program in it."""
    before, _, rest = CODE.static_text.partition("```python\n")
    after = rest.partition("```\n")[2]
    return [*before.splitlines(keepends=True), *after.splitlines(keepends=True), CODE.closing]


def train_tokenizer(vocabulary: int, seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of short pieces and single digits; a line of the instructions is one token.

    What a program is made of has to be put together from pieces, and what never changes costs
    nearly nothing.
    """
    rng = np.random.default_rng([seed, 0])
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n"), "merged_with_previous"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = []
    for _ in range(400):
        # Counted by letters here, since there is no tokenizer yet.
        text = serialize(random_slot(rng), lambda t: len(t) // 4, 1600).text
        texts.append(text.removeprefix(CODE.static_text))
    for _ in range(4000):
        kind = str(rng.choice(list(KINDS)))
        texts.append(sample_completion(rng, kind).text)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=MAX_TOKEN_CHARS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    lines = dict.fromkeys(_instructions())
    tokenizer.add_tokens([AddedToken(line, normalized=False) for line in lines])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )

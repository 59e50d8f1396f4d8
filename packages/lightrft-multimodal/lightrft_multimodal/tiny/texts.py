"""A tokenizer learnt in memory and a chat template that marks what the assistant says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

BEGIN, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"


def learnt_tokenizer(texts: Sequence[str], vocab_size: int, named: Mapping[str, str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE with every digit a token of its own.

    named: attribute of the tokenizer -> special token, as a family's processor asks for them.
    """
    specials = [PAD, BEGIN, END, *named.values()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, "system\n", "user\n", "assistant\n"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, extra_special_tokens=dict(named)
    )


def chat_template(written: Mapping[str, str]) -> str:
    """ChatML without a system prompt of its own, what the assistant says between generation markers.

    written: modality -> what a medium is written as.
    """
    media = "".join(f"{{%- elif part['type'] == '{kind}' -%}}{{{{ '{text}' }}}}" for kind, text in written.items())
    content = (
        "{%- if message['content'] is string -%}{{ message['content'] }}{%- else -%}"
        "{%- for part in message['content'] -%}"
        "{%- if part['type'] == 'text' -%}{{ part['text'] }}" + media + "{%- endif -%}"
        "{%- endfor -%}{%- endif -%}{{ '" + END + "' }}"
    )
    return (
        "{%- for message in messages -%}{{ '" + BEGIN + "' + message['role'] + '\\n' }}"
        "{%- if message['role'] == 'assistant' -%}{% generation %}" + content + "{% endgeneration %}"
        "{%- else -%}" + content + "{%- endif -%}"
        "{{ '\\n' }}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '" + BEGIN + "assistant\\n' }}{%- endif -%}"
    )

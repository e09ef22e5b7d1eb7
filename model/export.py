"""Write the trained network as GGUF, the file llama.cpp reads: `python model/export.py --from /tmp/selftest --to FILE`.

Q8_0 for matrices (one scale per 32 weights), F32 for norms. The chat template of the corpus goes into the file.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from corpus import CHAT_TEMPLATE
from network import Shape
from train import CONTROL, MARKS

NAME = "Tieline self-test"
DESCRIPTION = "Proves that the inference path works; about 3 million parameters; not a product."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="trained", type=Path, required=True, help="the folder train.py wrote")
    parser.add_argument("--to", type=Path, required=True, help="the GGUF file to write")
    args = parser.parse_args()
    shape = Shape(**json.loads((args.trained / "shape.json").read_text()))
    weights = torch.load(args.trained / "weights.pt", weights_only=True)
    writer = gguf.GGUFWriter(args.to, "llama")
    describe(writer, shape)
    add_tokenizer(writer, json.loads((args.trained / "tokenizer.json").read_text()), shape)
    for name, tensor in weights.items():
        add_tensor(writer, name, tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{args.to}: {args.to.stat().st_size / 1e6:.2f} MB")


def describe(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name(NAME)
    writer.add_description(DESCRIPTION)
    writer.add_license("apache-2.0")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: dict, shape: Shape) -> None:
    by_id = {i: token for token, i in tokenizer["model"]["vocab"].items()}
    by_id |= {added["id"]: added["content"] for added in tokenizer["added_tokens"]}
    tokens = [by_id.get(i, f"<unused{i}>") for i in range(shape.vocabulary)]
    kinds = [gguf.TokenType.NORMAL if i in by_id else gguf.TokenType.UNUSED for i in range(shape.vocabulary)]
    for token in CONTROL:
        kinds[tokens.index(token)] = gguf.TokenType.CONTROL
    for token in MARKS:  # shown in the output, as the engine's tool parser wants to read them
        kinds[tokens.index(token)] = gguf.TokenType.USER_DEFINED
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")  # digits alone, then GPT-2's pattern: what train.py does
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    end_of_text, _, end_of_turn = (tokens.index(token) for token in CONTROL)
    writer.add_bos_token_id(end_of_text)
    writer.add_pad_token_id(end_of_text)
    writer.add_eos_token_id(end_of_turn)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def add_tensor(writer: gguf.GGUFWriter, name: str, values: np.ndarray) -> None:
    if values.ndim == 1:
        writer.add_tensor(name, values.astype(np.float32))
        return
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


if __name__ == "__main__":
    main()

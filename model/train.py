"""Train the self-test model: `python model/train.py --out /tmp/selftest`, then `export.py`.

Draws fresh conversations for every step, so nothing is seen twice; the loss counts the assistant's words.
Hidden matrices learn by Muon (orthogonalised momentum), which needs about half the steps AdamW does here;
embeddings and norms learn by AdamW.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import corpus
import torch
from network import Llama, Shape
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional

VOCABULARY = 2048  # small: the words of one field, and the logits stay cheap
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKS = ["<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
ROWS, TOKENS = 8, 512
OTHERS_WEIGHT = 0.1  # of the user's and system's words in the loss: their language helps, a little
OPENING, OPENING_WEIGHT = 4, 3.0  # an answer's first tokens choose it; the rest of it follows
END_WEIGHT = 3.0  # one token in a long count says where it stops
MUON_RATE, ADAM_RATE = 0.02, 3e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for tokenizer.json, shape.json, weights.pt")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end the schedule by then, with fewer steps")
    parser.add_argument("--resume", action="store_true", help="go on from the weights in --out (take another --seed)")
    parser.add_argument("--rate", type=float, default=1.0, help="share of the full learning rates, small for --resume")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    r = random.Random(args.seed)

    model = Llama(Shape(vocabulary=VOCABULARY))
    if args.resume:
        tokenizer = Tokenizer.from_file(str(args.out / "tokenizer.json"))
        model.load_state_dict(torch.load(args.out / "weights.pt", weights_only=True))
    else:
        tokenizer = learn_tokenizer(r)
        tokenizer.save(str(args.out / "tokenizer.json"))
    print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
    schedule = Schedule(args.steps, args.minutes * 60, first=0.0 if not args.resume else 1.0)
    train(model, batches(tokenizer, r, schedule), schedule, rate=args.rate)
    torch.save(model.state_dict(), args.out / "weights.pt")
    (args.out / "shape.json").write_text(json.dumps(asdict(model.shape)))


class Schedule:
    """How much of the training is done, by steps or by the clock, whichever is further."""

    def __init__(self, steps: int, seconds: float, *, first: float) -> None:
        self.steps, self.seconds, self.first = steps, seconds, first
        self.step, self.began = 0, time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    @property
    def done(self) -> float:
        return max(self.step / self.steps, self.elapsed / self.seconds)


def learn_tokenizer(r: random.Random) -> Tokenizer:
    """Byte-level BPE with digits alone, so that any number can be copied digit by digit."""
    tokenizer = Tokenizer(models.BPE())
    digits, letters = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    # While learning, a space before a capital stands alone, so that no token joins the two: a name is then the same
    # tokens after a space as after a quote, and copying it into an argument is copying.
    apart = pre_tokenizers.Split(Regex(r" (?=\p{Lu})"), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, apart, letters])
    tokenizer.decoder = decoders.ByteLevel()
    texts = (corpus.render(corpus.conversation(r, done=r.random())) for _ in range(12_000))
    split = (piece for text in texts for piece in _without_marks(text))
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(MARKS),
        special_tokens=CONTROL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=8,  # invented names should stay in pieces
        show_progress=False,
    )
    tokenizer.train_from_iterator(split, trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, letters])
    tokenizer.add_tokens([AddedToken(mark, normalized=False, special=False) for mark in MARKS])
    return tokenizer


def _without_marks(text: str) -> list[str]:
    for mark in CONTROL + MARKS:
        text = text.replace(mark, "\0")
    return text.split("\0")


def batches(
    tokenizer: Tokenizer, r: random.Random, schedule: Schedule
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Ids, targets, weights of the targets and positions, each (ROWS, TOKENS)."""
    end_of_text, _, end = (tokenizer.token_to_id(t) for t in CONTROL)
    header = tokenizer.encode("<|im_start|>assistant\n").ids
    need = ROWS * (TOKENS + 1)
    ids: list[int] = []
    weights: list[float] = []
    while True:
        while len(ids) < need:
            new = tokenizer.encode(corpus.render(corpus.conversation(r, max(schedule.first, schedule.done)))).ids
            spoken: int | None = None  # tokens of the assistant's turn so far; None in the turns of others
            for at, token in enumerate(new):
                ids.append(token)
                if spoken is None:
                    weights.append(OTHERS_WEIGHT)
                    if new[at - len(header) + 1 : at + 1] == header:
                        spoken = 0
                else:
                    weights.append(OPENING_WEIGHT if spoken < OPENING else END_WEIGHT if token == end else 1.0)
                    spoken = None if token == end else spoken + 1
            ids.append(end_of_text)
            weights.append(OTHERS_WEIGHT)
        x = torch.tensor(ids[:need]).view(ROWS, TOKENS + 1)
        w = torch.tensor(weights[:need]).view(ROWS, TOKENS + 1)
        ids, weights = ids[need:], weights[need:]
        yield x[:, :-1], x[:, 1:], w[:, 1:], positions(r)


def positions(r: random.Random) -> Tensor:
    """Half of the rows jump once, so that distances up to the full context are met in rows of 512."""
    rows = torch.arange(TOKENS).repeat(ROWS, 1)
    for row in rows[: ROWS // 2]:
        row[r.randrange(1, TOKENS) :] += r.randrange(Shape.context - TOKENS)
    return rows


def train(
    model: Llama, data: Iterator[tuple[Tensor, Tensor, Tensor, Tensor]], schedule: Schedule, *, rate: float
) -> None:
    hidden = [p for name, p in model.named_parameters() if p.dim() == 2 and "embd" not in name]
    muon = Muon(hidden)
    rest = [p for name, p in model.named_parameters() if p.dim() == 1 or "embd" in name]
    adam = torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    smooth = None
    while (done := schedule.done) < 1:
        pace = rate * min(1.0, (schedule.step + 1) / 30) * min(1.0, max(0.01, (1 - done) / 0.6))  # rise, hold, fall
        x, y, w, at = next(data)
        with torch.autocast("cpu", torch.bfloat16):  # a third less time where the processor knows the format
            logits = model(x, at).flatten(0, 1).float()
        each = functional.cross_entropy(logits, y.flatten(), reduction="none")
        loss = (each * w.flatten()).sum() / w.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        for group in adam.param_groups:
            group["lr"] = ADAM_RATE * pace
        adam.step()
        muon.step(MUON_RATE * pace)
        model.zero_grad(set_to_none=True)
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        schedule.step += 1
        if schedule.step % 25 == 0:
            print(f"step {schedule.step} loss {smooth:.4f} after {schedule.elapsed:.0f} s", flush=True)


class Muon:
    """Momentum, made orthogonal before it is applied (Jordan et al., 2024), in batches of matrices of one shape."""

    def __init__(self, parameters: list[torch.nn.Parameter], *, momentum: float = 0.95, decay: float = 0.05) -> None:
        self.momentum, self.decay = momentum, decay
        self.groups: dict[torch.Size, list[torch.nn.Parameter]] = {}
        for p in parameters:
            self.groups.setdefault(p.shape, []).append(p)
        self.buffers = {shape: torch.zeros(len(ps), *shape) for shape, ps in self.groups.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for shape, ps in self.groups.items():
            gradient = torch.stack([p.grad for p in ps if p.grad is not None])
            buffer = self.buffers[shape].lerp_(gradient, 1 - self.momentum)
            update = orthogonal(gradient.lerp(buffer, self.momentum)) * math.sqrt(max(1.0, shape[0] / shape[1]))
            for p, u in zip(ps, update, strict=True):
                p.mul_(1 - rate * self.decay).add_(u, alpha=-rate)


def orthogonal(g: Tensor) -> Tensor:
    """The nearest orthogonal matrices, roughly, by five Newton-Schulz steps with the usual coefficients."""
    tall = g.shape[-2] > g.shape[-1]
    x = g.mT if tall else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


if __name__ == "__main__":
    main()

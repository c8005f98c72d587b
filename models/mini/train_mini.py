"""Train `mini`, a small open_clip CLIP that knows how a picture was made and treated, in words.

    python models/mini/train_mini.py --data ../shared/data --out DIR [--minutes N] [--samples N] [--device cuda]

Writes to DIR: the decoded pictures (cache.u8), the teachers' frames (teacher.u8), log.jsonl, checkpoint.safetensors
(resumed from when present; weights, their running mean, optimiser) and export/ (what belongs into models/mini). A file
DIR/stop ends the run after the current step with everything written. Steps and batches are numbered, so a resumed run
sees the data an uninterrupted one would.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mini_captions import CaptionSampler
from mini_data import Stream
from mini_evaluate import caption_pairs_of_model, photographs_kept_out
from mini_model import (
    MODEL_CFG,
    TEACHER_HEAD,
    Vocabulary,
    build,
    export,
    image_features,
    initialise,
    text_features,
    trainable,
)
from mini_photos import Photo, held_out_sources, open_cache
from mini_teacher import Pool, open_pool
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset

SEED = 7


class Batches(Dataset):
    """Numbered batches, tokenised in the loader."""

    def __init__(self, stream: Stream, vocabulary: Vocabulary, first: int, last: int) -> None:
        self.stream, self.vocabulary, self.first, self.last = stream, vocabulary, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> dict[str, Any]:
        start = time.process_time()
        batch = self.stream.batch(self.first + index)
        result = {name: torch.from_numpy(value) for name, value in batch.items() if name != "texts"}
        result["tokens"] = self.vocabulary(batch["texts"])
        return {**result, "cpu_seconds": time.process_time() - start}


def contrastive_loss(
    images: Tensor, texts: Tensor, scale: Tensor, fits: Tensor, known: Tensor, tilt: Tensor | None = None
) -> Tensor:
    """Sigmoid loss over all pairs whose truth is known; a caption's fitting and unfitting pictures weigh the same.

    With both sides equal, a cosine of zero means "can't tell", and two contrary captions can be compared. tilt (c,):
    what the fitting pictures weigh less than half, and the others more.
    """
    logits = scale.exp().clamp(max=40) * F.normalize(images.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
    yes, no = (fits & known).float(), (~fits & known).float()
    share = 0.0 if tilt is None else tilt
    weight = (1 - 2 * share) * yes / yes.sum(0).clamp_min(1) + (1 + 2 * share) * no / no.sum(0).clamp_min(1)
    useful = (yes.sum(0) > 0) & (no.sum(0) > 0)
    weight = weight * torch.where(useful, 1.0, 0.1)
    loss = F.binary_cross_entropy_with_logits(logits, yes, reduction="none")
    return (loss * weight).sum() / weight.sum()


def distillation_loss(images: Tensor, head: nn.Linear, targets: Tensor) -> Tensor:
    """Mean squared error of the teachers' components read off the normalised embedding; 1 when nothing is learned."""
    found = F.linear(F.normalize(images.float(), dim=-1) * images.shape[-1] ** 0.5, head.weight.float())
    return F.mse_loss(found + head.bias.float(), targets)


class Trainer:
    """Weights in `precision`, master copy, running mean and AdamW in float32."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.out = Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        folder = self.out if args.cache is None else Path(args.cache)
        self.cache = open_cache(Path(args.data), folder)
        self.held = held_out_sources(self.cache.photos, SEED)
        self.photos: list[Photo] = [p for p in self.cache.photos if p.source not in self.held]
        self.pool: Pool | None = open_pool(self.cache, self.photos, folder, SEED) if args.frames else None
        fakes = [p.source for p in self.photos if p.label == 1]
        self.captions = CaptionSampler(sorted({s for s in fakes if fakes.count(s) >= 8}))
        self.vocabulary = Vocabulary(self.captions.vocabulary())
        self.device = torch.device(args.device)
        model = build(self.vocabulary, SEED)
        initialise(model, self.cache, self.photos, SEED, rectify=not args.no_rectify)
        model.logit_bias = None
        if self.pool is not None:
            model.add_module(TEACHER_HEAD, nn.Linear(MODEL_CFG["embed_dim"], self.pool.targets.shape[1]))
        self.master = {name: p.detach().clone().float() for name, p in trainable(model)}
        self.mean = {name: value.clone() for name, value in self.master.items()}
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[args.precision]
        self.model = model.to(self.device, dtype).train()
        self.master = {name: value.to(self.device).requires_grad_() for name, value in self.master.items()}
        matrices = [v for v in self.master.values() if v.ndim > 1]
        vectors = [v for v in self.master.values() if v.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.97), eps=1e-8, fused=True)
        self.step, self.samples, self.wall, self.cpu = 0, 0, 0.0, 0.0
        self._resume()

    def _resume(self) -> None:
        path = self.out / "checkpoint.safetensors"
        if not path.exists():
            return
        content = load_file(path)
        numbers = json.loads((self.out / "checkpoint.json").read_text())
        self.step, self.samples, self.wall, self.cpu = (numbers[k] for k in ("step", "samples", "wall", "cpu"))
        self._grow(content)
        with torch.no_grad():
            for name, value in self.master.items():
                value.copy_(content[f"master.{name}"])
                self.mean[name] = content[f"mean.{name}"]
                self.optimizer.state[value] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": content[f"first.{name}"].to(self.device),
                    "exp_avg_sq": content[f"second.{name}"].to(self.device),
                }
        self._publish()

    def _grow(self, content: dict[str, Tensor]) -> None:
        """Rows for words that captions.yaml did not have when the checkpoint was written, as they are initialised."""
        rows = {int(token): i for i, token in enumerate(content.pop("tokens").tolist())}
        old = [rows.get(int(token), -1) for token in self.vocabulary.used]
        known = torch.tensor(old) >= 0
        fresh = self.master["token_embedding.weight"].detach().cpu()
        for part in ("master", "mean", "first", "second"):
            before = content[f"{part}.token_embedding.weight"]
            after = fresh.clone() if part in ("master", "mean") else torch.zeros_like(fresh)
            after[known] = before[torch.tensor(old)[known]]
            content[f"{part}.token_embedding.weight"] = after

    def save(self) -> None:
        """A checkpoint and an export of the running mean."""
        content = {"tokens": torch.from_numpy(self.vocabulary.used)}
        for name, value in self.master.items():
            state = self.optimizer.state[value]
            content[f"master.{name}"] = value.detach().cpu().contiguous()
            content[f"mean.{name}"] = self.mean[name].cpu().contiguous()
            content[f"first.{name}"] = state["exp_avg"].cpu().contiguous()
            content[f"second.{name}"] = state["exp_avg_sq"].cpu().contiguous()
        save_file(content, self.out / "checkpoint.tmp")
        (self.out / "checkpoint.tmp").replace(self.out / "checkpoint.safetensors")
        numbers = {"step": self.step, "samples": self.samples, "wall": self.wall, "cpu": self.cpu}
        (self.out / "checkpoint.json").write_text(json.dumps(numbers))
        export(self.mean, self.vocabulary, self.out / "export")

    @torch.no_grad()
    def _publish(self) -> None:
        torch._foreach_copy_([p.data for _, p in trainable(self.model)], [v.detach() for v in self.master.values()])

    def progress(self) -> float:
        """Share of the run that is done, by samples or minutes, whichever is further."""
        return max(self.samples / self.args.samples, self.wall / 60 / self.args.minutes)

    def rate(self) -> float:
        """Learning rate: short warm-up, constant, then linearly down over the last part."""
        done, tail = self.progress(), self.args.cooldown
        return self.args.lr * min(1.0, (self.step + 1) / 80) * min(1.0, max(0.01, (1 - done) / tail))

    def train_step(self, batch: dict[str, Any]) -> dict[str, float]:
        """One step; returns the losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        kernel = sdpa_kernel(SDPBackend.MATH) if self.device.type == "cpu" else contextlib.nullcontext()
        with kernel:  # on CPU the fused attention's backward takes as long as everything else together
            images = image_features(self.model, batch["patches"], batch["positions"])
            losses = {}
            if "targets" in batch:
                frames = image_features(self.model, batch["frame_patches"], batch["frame_positions"])
                head = getattr(self.model, TEACHER_HEAD)
                losses["distillation"] = distillation_loss(frames, head, batch["targets"].to(self.device))
                images = torch.cat([images, frames])
            texts = text_features(self.model, batch["tokens"])
            scale = self.model.logit_scale.float()
            truth = (batch[key].to(self.device) for key in ("fits", "known", "tilt"))
            losses["captions"] = contrastive_loss(images, texts, scale, *truth)
            loss = losses["captions"] + self.args.distill * losses.get("distillation", 0.0)
            loss.backward()
        with torch.no_grad():
            for (name, p), master in zip(trainable(self.model), self.master.values(), strict=True):
                assert p.grad is not None, name
                master.grad = p.grad.float()
                p.grad = None
            torch.nn.utils.clip_grad_norm_(list(self.master.values()), 1.0)
            self.optimizer.step()
            if self.step % 2 == 0:
                keep = min(0.995, (1 + self.step) / (20 + self.step))
                torch._foreach_lerp_(
                    list(self.mean.values()), [v.detach().cpu() for v in self.master.values()], 1 - keep
                )
        self._publish()
        self.step += 1
        self.samples += len(batch["fits"])
        return {name: float(value.detach()) for name, value in losses.items()}

    def batches(self) -> Iterator[dict[str, Any]]:
        """Batches from the current step on, at the stage's shape."""
        a = self.args
        shape = {"pairs": a.pairs, "singles": a.singles, "grid": a.grid, "tokens": a.tokens}
        frames = {"pool": self.pool, "frames": a.frames, "frame_tokens": a.frame_tokens}
        stream = Stream(self.cache, self.photos, self.captions, SEED, **shape, **frames)
        data = Batches(stream, self.vocabulary, self.step, self.step + 10_000_000)
        return iter(
            DataLoader(
                data, batch_size=None, shuffle=False, num_workers=a.workers, prefetch_factor=3 if a.workers else None
            )
        )

    def evaluate(self) -> dict[str, float]:
        """Zero-shot caption pairs on photographs kept out, with the running mean's weights."""
        with torch.no_grad():
            torch._foreach_copy_(
                [p.data for _, p in trainable(self.model)], [self.mean[n].to(self.device) for n in self.master]
            )
        photos = photographs_kept_out(self.cache, self.held, self.args.eval_photos)
        result = caption_pairs_of_model(self.model, self.vocabulary, self.cache, photos)
        self._publish()
        return result

    def run(self) -> None:
        """Train until the samples or the minutes are used up, or DIR/stop appears."""
        start_wall, before = time.time() - self.wall, time.process_time()
        losses: list[dict[str, float]] = []
        last_saved = time.time()
        for batch in self.batches():
            losses.append(self.train_step(batch))
            self.wall = time.time() - start_wall
            self.cpu += batch["cpu_seconds"] + time.process_time() - before
            before = time.process_time()
            stop = self.progress() >= 1 or (self.out / "stop").exists()
            if self.step % self.args.log_every == 0 or stop:
                self._log({name: sum(row[name] for row in losses) / len(losses) for name in losses[0]})
                losses = []
            if self.step % self.args.eval_every == 0 or stop:
                self._log(self.evaluate())
            if time.time() - last_saved > 240 or stop:
                self.save()
                last_saved = time.time()
            if stop:
                return

    def _log(self, values: dict[str, Any]) -> None:
        numbers = {"minutes": self.wall / 60, "cpu_minutes": self.cpu / 60, "lr": self.rate(), **values}
        row = {"step": self.step, "samples": self.samples, **{k: round(v, 6) for k, v in numbers.items()}}
        with open(self.out / "log.jsonl", "a") as log:
            log.write(json.dumps(row) + "\n")


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with manifest.csv")
    parser.add_argument("--out", required=True, help="where the run's files go")
    parser.add_argument("--cache", help="folder of the decoded pictures (default: --out)")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--cooldown", type=float, default=0.3, help="share of the run over which the rate falls")
    parser.add_argument(
        "--pairs", type=int, default=32, help="pairs of pictures per batch that differ in one treatment"
    )
    parser.add_argument("--singles", type=int, default=32, help="untreated pictures per batch")
    parser.add_argument("--grid", type=int, default=8, help="patches along a side of a training crop")
    parser.add_argument("--tokens", type=int, default=44, help="patches of a crop that are shown, drawn at random")
    parser.add_argument(
        "--frames", type=int, default=24, help="whole frames per batch with the teachers' features; 0: none"
    )
    parser.add_argument("--frame-tokens", type=int, default=80, help="patches of a frame that are shown")
    parser.add_argument("--distill", type=float, default=0.5, help="weight of the distillation loss")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--log-every", type=int, default=20)
    parser.add_argument("--eval-every", type=int, default=200)
    parser.add_argument("--eval-photos", type=int, default=60)
    parser.add_argument("--no-rectify", action="store_true", help="plain first MLP (to compare)")
    return parser.parse_args(arguments)


def main() -> None:
    """Train."""
    args = options()
    torch.set_num_threads(args.threads)
    Trainer(args).run()


if __name__ == "__main__":
    main()

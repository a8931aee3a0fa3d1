"""Trains the demo checkpoint: a small CLIP of OpenAI's own class, on drawn scenes with captions.

    OMP_WAIT_POLICY=PASSIVE python tools/train_demo_clip.py --seed 0 --steps 1200 --out videolib/demo/demo_clip.pt

The variable keeps PyTorch's threads from spinning while other programs need the cores; it changes no result.

A pool of scenes is drawn once and used again with small changes. Beside CLIP's contrastive loss, linear heads
read object, colour and setting from the embeddings of pictures and of texts alike, and each embedding is drawn
towards the sum of learned vectors of its facts. That sum is what makes combinations work that were never seen:
`demo_scenes.HELD_OUT` are never drawn or named. Heads and vectors are thrown away after training.

The file is small because the token embedding (49,408 rows) is zero for every token that no training caption
used, and the archive that `torch.save` writes is packed again with deflate. Unknown words are therefore blank:
training mixes blanks into the captions, so that they are passed over.
"""

from __future__ import annotations

import argparse
import io
import math
import multiprocessing
import time
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import clip
import cv2
import numpy as np
import numpy.typing as npt
import torch
from clip.model import CLIP
from demo_scenes import (
    COLOURS,
    LEADS,
    OBJECTS,
    SETTINGS,
    TAILS,
    Caption,
    Scene,
    draw_scene,
    random_caption,
    random_scene,
    seen_combinations,
)
from evaluate_demo_clip import combination_figures
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

RESOLUTION, POOL_SIDE, DRAWN_SIDE = 96, 108, 224
CONTEXT, SHORT_CONTEXT, CAPTIONS = 77, 20, 6  # the last caption of each scene is a long one
VOCABULARY = 49408
BLANK = -1
MEAN = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(1, 3, 1, 1)
STD = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(1, 3, 1, 1)
COLOUR_NAMES = list(COLOURS)
ABSENT, UNSAID = -2, -1
SUM_WEIGHT = 4.0


@dataclass(frozen=True)
class Pool:
    """Drawn scenes: pictures (n, side, side, 3), tokens (n, captions, 77), facts of the scenes and captions.

    Facts are object, colour, second object, second colour, setting, as indices: scenes (n, 5), captions
    (n, captions, 5).
    """

    images: npt.NDArray[np.uint8]
    tokens: npt.NDArray[np.int32]
    scene_facts: npt.NDArray[np.int64]
    caption_facts: npt.NDArray[np.int64]


def draw_chunk(seed: tuple[int, int], n: int) -> Pool:
    """`n` scenes of combinations seen in training."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    combinations = seen_combinations()
    images = np.empty((n, POOL_SIDE, POOL_SIDE, 3), np.uint8)
    tokens = np.zeros((n, CAPTIONS, CONTEXT), np.int32)
    scene_facts = np.empty((n, 5), np.int64)
    caption_facts = np.empty((n, CAPTIONS, 5), np.int64)
    for i in range(n):
        picks = rng.integers(len(combinations), size=rng.choice(3, p=[0.04, 0.5, 0.46]))
        scene = random_scene(rng, [combinations[pick] for pick in picks], str(rng.choice(SETTINGS)))
        images[i] = camera(rng, scene)
        things = [(thing.kind, thing.colour) for thing in scene.things]
        scene_facts[i] = fact_row(things, scene.setting, missing=ABSENT)
        for j in range(CAPTIONS):
            caption, tokens[i, j] = tokenized_caption(rng, scene, long=j == CAPTIONS - 1)
            caption_facts[i, j] = fact_row(caption.things, caption.setting, missing=UNSAID)
    return Pool(images, tokens, scene_facts, caption_facts)


def camera(rng: np.random.Generator, scene: Scene) -> npt.NDArray[np.uint8]:
    """The scene's central square as CLIP's preprocessing sees it, with the faults of a compressed film."""
    wide = DRAWN_SIDE * 16 // 9 if rng.random() < 0.3 else DRAWN_SIDE
    image = draw_scene(scene, width=wide, height=DRAWN_SIDE)
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.4)).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(45, 95))
        packed = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        unpacked = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        image = np.asarray(unpacked, np.uint8)[:, :, ::-1]
    left = (wide - DRAWN_SIDE) // 2
    square = Image.fromarray(np.ascontiguousarray(image[:, left : left + DRAWN_SIDE]))
    return np.asarray(square.resize((POOL_SIDE, POOL_SIDE), Image.Resampling.BICUBIC))


def tokenized_caption(
    rng: np.random.Generator, scene: Scene, *, long: bool
) -> tuple[Caption, npt.NDArray[np.int32]]:
    """A caption and its tokens (77,), some with blanks put in; a short one fits `SHORT_CONTEXT`."""
    room = CONTEXT if long else SHORT_CONTEXT
    while True:
        caption = random_caption(rng, scene)
        text = caption.text
        if long:
            before = [str(rng.choice(LEADS)) for _ in range(rng.integers(0, 4))]
            after = [str(rng.choice(TAILS)) for _ in range(rng.integers(1, 6))]
            text = " ".join([*before, text, *after])
        words: list[int] = clip.clip._tokenizer.encode(text)
        if rng.random() < 0.2:
            place = int(rng.integers(len(words) + 1))
            words[place:place] = [BLANK] * int(rng.integers(1, 4))
        if len(words) + 2 <= room:
            row = np.zeros(CONTEXT, np.int32)
            row[: len(words) + 2] = [VOCABULARY - 2, *words, VOCABULARY - 1]
            return caption, row


def fact_row(
    things: Sequence[tuple[str | None, str | None]], setting: str | None, *, missing: int
) -> list[int]:
    """Object, colour, second object, second colour, setting, as indices."""
    row = []
    for kind, colour in things:
        row += [UNSAID if kind is None else OBJECTS.index(kind)]
        row += [UNSAID if colour is None else COLOUR_NAMES.index(colour)]
    row += [missing] * (4 - len(row))
    return [*row, UNSAID if setting is None else SETTINGS.index(setting)]


def draw_pool(seed: int, n: int, *, processes: int) -> Pool:
    """`n` scenes, drawn by several processes; the same for any number of them."""
    chunk = 250
    tasks = [((seed, i), chunk) for i in range(math.ceil(n / chunk))]
    with multiprocessing.get_context("fork").Pool(processes) as workers:
        chunks = workers.starmap(draw_chunk, tasks, chunksize=1)
    return Pool(
        np.concatenate([part.images for part in chunks]),
        np.concatenate([part.tokens for part in chunks]),
        np.concatenate([part.scene_facts for part in chunks]),
        np.concatenate([part.caption_facts for part in chunks]),
    )


class Heads(nn.Module):
    """Linear readers of the facts, shared by pictures and texts, used in training only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.objects = nn.Linear(width, len(OBJECTS))
        self.colours = nn.Linear(width, len(COLOURS))
        self.settings = nn.Linear(width, len(SETTINGS))
        self.parts = nn.Embedding(len(OBJECTS) + len(COLOURS) + len(SETTINGS), width)

    def forward(self, embeddings: Tensor, facts: Tensor) -> Tensor:
        """The loss of unit embeddings (n, d) against facts (n, 5); what is unsaid costs nothing."""
        x = 12 * embeddings
        losses = [
            functional.cross_entropy(self.settings(x), facts[:, 4], ignore_index=UNSAID, reduction="sum")
        ]
        for kind, colour in ((facts[:, 0], facts[:, 1]), (facts[:, 2], facts[:, 3])):
            for head, target in ((self.objects, kind), (self.colours, colour)):
                losses.append(
                    functional.cross_entropy(head(x)[target >= 0], target[target >= 0], reduction="sum")
                )
        return torch.stack(losses).sum() / len(x) + SUM_WEIGHT * self.distance_to_sum(embeddings, facts)

    def distance_to_sum(self, embeddings: Tensor, facts: Tensor) -> Tensor:
        """One minus the cosine of each embedding (n, d) and the sum of its facts' (n, 5) vectors, on average."""
        first = torch.tensor([0, len(OBJECTS), 0, len(OBJECTS), len(OBJECTS) + len(COLOURS)])
        said = facts >= 0
        sums = (self.parts(facts.clamp(min=0) + first) * said[..., None]).sum(1)
        return (1 - functional.cosine_similarity(embeddings, sums, dim=1))[said.any(1)].mean()


def true_of(scene_facts: Tensor, caption_facts: Tensor) -> Tensor:
    """Which caption is true of which scene, (scenes, captions) bool."""
    scene, caption = scene_facts[:, None, :], caption_facts[None, :, :]
    matches = (caption[..., 4] == UNSAID) | (caption[..., 4] == scene[..., 4])
    for said in (0, 2):
        found = torch.zeros_like(matches)
        for there in (0, 2):
            kind = (caption[..., said] == UNSAID) | (caption[..., said] == scene[..., there])
            colour = (caption[..., said + 1] == UNSAID) | (caption[..., said + 1] == scene[..., there + 1])
            found |= kind & colour
        matches &= found
    return matches


def contrastive_loss(logits: Tensor, matches: Tensor) -> Tensor:
    """CLIP's loss over logits (images, texts), where a text may be true of several images.

    A text looks for all images that it is true of; an image looks for its own text, and other true texts are
    left out of the choice.
    """
    targets = matches.float() / matches.float().sum(0, keepdim=True)
    by_text = -(targets * logits.log_softmax(0)).sum(0).mean()
    own = torch.eye(len(logits), dtype=torch.bool)
    by_image = -logits.masked_fill(matches & ~own, -torch.inf).log_softmax(1).diagonal().mean()
    return (by_text + by_image) / 2


def batch_images(rng: np.random.Generator, images: npt.NDArray[np.uint8]) -> Tensor:
    """Pool pictures cut out at random, half of them mirrored, slightly brighter or darker: (n, 3, side, side)."""
    slack = POOL_SIDE - RESOLUTION
    cut = np.empty((len(images), RESOLUTION, RESOLUTION, 3), np.uint8)
    for i, (y, x) in enumerate(rng.integers(slack + 1, size=(len(images), 2))):
        view = images[i, y : y + RESOLUTION, x : x + RESOLUTION]
        cut[i] = view[:, ::-1] if rng.random() < 0.5 else view
    light = torch.from_numpy(rng.uniform(0.9, 1.08, (len(images), 1, 1, 1)).astype(np.float32))
    pixels = torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 255  # channels stay last in memory
    return ((pixels * light).clamp(0, 1) - MEAN) / STD


def save_checkpoint(model: CLIP, vocabulary: npt.NDArray[np.int32], path: Path) -> None:
    """Writes fp16 weights that `clip.load` takes, the token embedding at full height, packed with deflate."""
    state: OrderedDict[str, Tensor] = OrderedDict(
        (name, value.detach().half() if value.is_floating_point() else value)
        for name, value in model.state_dict().items()
    )
    rows = torch.zeros(VOCABULARY, model.token_embedding.weight.shape[1], dtype=torch.float16)
    rows[torch.from_numpy(vocabulary).long()] = state["token_embedding.weight"][1:]
    state["token_embedding.weight"] = rows
    plain = io.BytesIO()
    torch.save(state, plain)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out,
    ):
        for name in source.namelist():
            entry = zipfile.ZipInfo(name)  # a fixed date, so that the same weights give the same bytes
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, source.read(name))


def train(
    *, seed: int, steps: int, batch: int, pool_size: int, learning_rate: float, threads: int, out: Path
) -> None:
    """Draws the pool, trains, and saves a checkpoint now and then and at the end."""
    start = time.monotonic()
    pool = draw_pool(seed, pool_size, processes=threads)
    vocabulary = np.unique(pool.tokens)
    vocabulary = vocabulary[vocabulary > 0]
    compact = np.searchsorted(vocabulary, pool.tokens) + 1
    compact[pool.tokens <= 0] = 0  # blanks and padding: a row that stays zero
    tokens = torch.from_numpy(compact)
    scene_facts, caption_facts = torch.from_numpy(pool.scene_facts), torch.from_numpy(pool.caption_facts)
    print(f"{len(tokens)} scenes, {len(vocabulary)} tokens, {time.monotonic() - start:.0f} s", flush=True)

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, 1))
    model = CLIP(512, RESOLUTION, (1, 1, 1, 1), 16, None, CONTEXT, len(vocabulary) + 1, 128, 2, 3)
    embedding = nn.Embedding(len(vocabulary) + 1, 128, padding_idx=0)
    nn.init.normal_(embedding.weight[1:].data, std=0.02)
    model.token_embedding = embedding
    model.visual = model.visual.to(memory_format=torch.channels_last)
    heads = Heads(512)
    weights = [p for p in (*model.parameters(), *heads.parameters()) if p.ndim > 1]
    others = [p for p in (*model.parameters(), *heads.parameters()) if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.98),
    )
    warm_up = min(100, steps // 10 + 1)

    def rate(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 + 0.5 * math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    order = rng.permutation(len(tokens))
    place = 0
    for step in range(steps):
        if place + batch > len(order):
            order, place = rng.permutation(len(tokens)), 0
        picks = np.sort(order[place : place + batch])
        place += batch
        long = step % 12 == 11
        which = np.full(batch, CAPTIONS - 1) if long else rng.integers(CAPTIONS - 1, size=batch)
        text = tokens[picks, which]
        text = text[:, : int(text.argmax(1).max()) + 1]  # attention is causal: nothing after the end counts
        with torch.autocast("cpu", torch.bfloat16):
            pictures = model.encode_image(batch_images(rng, pool.images[picks])).float()
        texts = model.encode_text(text).float()
        pictures, texts = functional.normalize(pictures), functional.normalize(texts)
        seen, said = scene_facts[picks], caption_facts[picks, which]
        logits = model.logit_scale.clamp(max=math.log(100)).exp() * pictures @ texts.T
        contrast = contrastive_loss(logits, true_of(seen, said))
        by_picture, by_text = heads(pictures, seen), heads(texts, said)
        share = 0.3 + 0.7 * max(0.0, 1 - 2 * step / steps)
        loss = contrast + share * (by_picture + by_text) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0 or step == 0:
            print(
                f"step {step + 1}  {time.monotonic() - start:.0f} s  contrast {contrast.item():.3f}"
                f"  picture heads {by_picture.item():.3f}  text heads {by_text.item():.3f}",
                flush=True,
            )
        if (step + 1) % 300 == 0 or step + 1 == steps:
            save_checkpoint(model, vocabulary, out)
            figures = combination_figures(out, seed=10_000, sets=2, per_combination=1)
            print("  " + "  ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Train the demo checkpoint.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pool", type=int, default=16_000, help="scenes drawn once and used again")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("videolib/demo/demo_clip.pt"))
    given = parser.parse_args()
    train(
        seed=given.seed,
        steps=given.steps,
        batch=given.batch,
        pool_size=given.pool,
        learning_rate=given.learning_rate,
        threads=given.threads,
        out=given.out,
    )


if __name__ == "__main__":
    main()

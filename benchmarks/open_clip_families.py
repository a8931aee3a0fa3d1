"""``python -m benchmarks.open_clip_families``: `OpenClipEncoder` beside open_clip's own path, family by family.

Image towers of the published shapes with random weights and small text towers, in float32: a few pictures of 640x360,
each round once each way, the median of the rounds' pictures a second; and the largest difference of an embedding's
numbers.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from videolib import OpenClipEncoder, normalize

FAMILIES = {
    "ViT-B-32": "laion2b_s34b_b79k",
    "ViT-B-16-SigLIP2-256": "webli",
    "MobileCLIP2-S0": "dfndr2b",
    "PE-Core-T-16-384": "meta",
    "coca_ViT-B-32": "laion2b_s13b_b90k",
}
ROUNDS = 3
PICTURES = 4


def register(published: str, folder: Path) -> str:
    """Add the published shape with a small text tower and random weights to open_clip's registries; gives its name."""
    name = f"random-{list(FAMILIES).index(published)}"
    config = open_clip.get_model_config(published)
    for part in ("text_cfg", "multimodal_cfg"):
        if part in config:
            config[part] |= {"layers": 1, "vocab_size": 49408}
    config["text_cfg"].pop("hf_tokenizer_name", None)
    config["text_cfg"].pop("tokenizer_kwargs", None)
    open_clip.factory._MODEL_CONFIGS[name] = config
    torch.manual_seed(0)
    torch.save(open_clip.create_model(name).state_dict(), folder / f"{name}.pt")
    settings = open_clip.pretrained._PRETRAINED[published][FAMILIES[published]]
    open_clip.pretrained._PRETRAINED[name] = {"random": settings | {"file": str(folder / f"{name}.pt")}}
    return name


def main() -> None:
    """Measure each family and print a table."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, size=(360, 640, 3), dtype=np.uint8) for _ in range(PICTURES)]
    print("| shape | open_clip, pictures/s | videolib, pictures/s | ratio | largest difference |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for published in FAMILIES:
            name = register(published, Path(folder))
            ours = OpenClipEncoder(name, "random", device="cpu", precision="float32", batch_size=PICTURES)
            model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained="random")
            model.eval()
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(ROUNDS + 1):  # the first is not counted
                started = time.perf_counter()
                with torch.inference_mode():
                    batch = torch.stack([preprocess(Image.fromarray(image)) for image in images])
                    rows = normalize(model.encode_image(batch).numpy())
                middle = time.perf_counter()
                own = ours.encode_images(images)
                times[0].append(middle - started)
                times[1].append(time.perf_counter() - middle)
            theirs, own_time = (statistics.median(each[1:]) for each in times)
            ratio = statistics.median(a / b for a, b in zip(times[0][1:], times[1][1:], strict=True))
            print(
                f"| {published} | {PICTURES / theirs:.1f} | {PICTURES / own_time:.1f} | {ratio:.2f} "
                f"| {np.abs(own - rows).max():.1e} |"
            )


if __name__ == "__main__":
    main()

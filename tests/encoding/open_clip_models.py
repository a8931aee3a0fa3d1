"""Small random models of open_clip's families, in its own registries: as published, but a few layers and narrow."""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from open_clip import factory, pretrained
from timm.models import eva, fastvit, vision_transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

TAG = "random"
TEXTS = ["", "a red car", "A Red Car!", "two boats & a fish", "ein rotes Auto", "赤い車", "🚗"]


def _small(make: Any, small: dict[str, Any], pretrained: bool = False, **given: Any) -> torch.nn.Module:
    return make(pretrained=pretrained, **small | given)


NARROW = {"embed_dim": 64, "depth": 2, "num_heads": 4}
TOWERS = {
    "small_siglip": partial(
        _small, vision_transformer.vit_base_patch16_siglip_256, NARROW | {"img_size": 64}
    ),
    "small_pe": partial(
        _small, eva.vit_pe_core_tiny_patch16_384, NARROW | {"img_size": 64, "ref_feat_shape": (4, 4)}
    ),
    "small_mci": partial(
        _small, fastvit.fastvit_mci0, {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 64)}
    ),
}


@dataclass(frozen=True)
class Family:
    """One family: the published model whose configuration is made small, and what is changed."""

    published: str
    tag: str
    vision: dict[str, Any]
    context_length: int


FAMILIES = {
    "clip": Family("ViT-B-32", "laion2b_s34b_b79k", {"image_size": 64, "patch_size": 16}, 77),
    "siglip2": Family(
        "ViT-B-16-SigLIP2-256", "webli", {"image_size": 64, "timm_model_name": "small_siglip"}, 64
    ),
    "mobileclip2": Family(
        "MobileCLIP2-S0", "dfndr2b", {"image_size": 64, "timm_model_name": "small_mci"}, 77
    ),
    "pe": Family("PE-Core-T-16-384", "meta", {"image_size": 64, "timm_model_name": "small_pe"}, 32),
    "coca": Family("coca_ViT-B-32", "laion2b_s13b_b90k", {"image_size": 64, "patch_size": 16}, 76),
}


def small_config(family: str, tokenizer: Path) -> dict[str, Any]:
    """The configuration of the published model, narrow; its tokenizer from the hub replaced by one of a folder."""
    known = FAMILIES[family]
    config = copy.deepcopy(open_clip.get_model_config(known.published))
    config["embed_dim"] = 64
    config["vision_cfg"] |= known.vision
    if "width" in config["vision_cfg"]:
        config["vision_cfg"] |= {"width": 64, "layers": 2, "head_width": 32}
    for part in ("text_cfg", "multimodal_cfg"):
        if part in config:
            config[part] |= {"width": 64, "heads": 2, "layers": 2}
    if "hf_tokenizer_name" in config["text_cfg"]:
        config["text_cfg"] |= {"hf_tokenizer_name": str(tokenizer), "vocab_size": 1000}
    return config


def make_tokenizer(folder: Path) -> Path:
    """A tokenizer of transformers in the place of SigLIP 2's: small, with an end token, padded by zeros."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    texts = ["a red car", "two boats and a fish", "ein rotes auto", "a blue boat on the sea"] * 3
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def make_weights(architecture: str, path: Path) -> Path:
    """Random weights, with running means of batches as a trained model has them."""
    torch.manual_seed(0)
    model = open_clip.create_model(architecture)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    torch.save(model.state_dict(), path)
    return path


@contextmanager
def small_models(folder: Path) -> Iterator[dict[str, Path]]:
    """Register "small-FAMILY" with the weights "random"; gives the files of the weights."""
    for name, tower in TOWERS.items():
        tower.__name__, tower.__module__ = name, __name__
        if not timm.is_model(name):
            timm.models.register_model(tower)
    tokenizer = make_tokenizer(folder / "tokenizer")
    paths = {}
    try:
        for family, known in FAMILIES.items():
            name = f"small-{family}"
            factory._MODEL_CONFIGS[name] = small_config(family, tokenizer)
            paths[family] = make_weights(name, folder / f"{family}.pt")
            settings = pretrained._PRETRAINED[known.published][known.tag]
            pretrained._PRETRAINED[name] = {TAG: settings | {"file": str(paths[family])}}
        yield paths
    finally:
        for family in FAMILIES:
            factory._MODEL_CONFIGS.pop(f"small-{family}", None)
            pretrained._PRETRAINED.pop(f"small-{family}", None)

"""CLIP's two towers: loaded without a spare copy, run at one precision throughout."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch.nn import functional

from videolib.errors import ModelError

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import clip as clip  # the other modules take it from here, so that the warning is filtered for all

# Of clip's own preprocessing: channel means and standard deviations of its training images.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def load_clip(path: Path, device: torch.device, dtype: torch.dtype) -> clip.model.CLIP:
    """Load a checkpoint, TorchScript archive or state dict, with all its weights as `dtype`; ModelError if it is none.

    `clip.load` makes a random model at full precision first, which costs as much memory again. Here the
    model is built without weights, and the file's tensors are converted one by one and become its weights.
    """
    try:
        state = _read_state(path)
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter")
            model = clip.model.build_model(state)
        for name, weights in state.items():
            state[name] = weights.to(device, dtype) if weights.is_floating_point() else weights.to(device)
        model.load_state_dict(state, assign=True)
    except Exception as error:  # torch raises nearly anything on a damaged file
        raise ModelError(
            f"model must be a CLIP checkpoint, got {str(path)!r}, which cannot be read: {error}"
        ) from error
    return model


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.load` is deprecated")
        try:
            return torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call, no-any-return]
        except RuntimeError:  # no archive
            return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


def embed_pixels(model: clip.model.CLIP, pixels: torch.Tensor) -> torch.Tensor:
    """Embed images at the model's resolution, (n, r, r, 3) uint8: (n, d), not normalised."""
    mean, std = pixels.new_tensor(MEAN, dtype=torch.float32), pixels.new_tensor(STD, dtype=torch.float32)
    image = pixels.float().div_(255).sub_(mean).div_(std).to(model.dtype)
    rows: torch.Tensor
    if isinstance(model.visual, clip.model.VisionTransformer):
        rows = _embed_patches(model.visual, image)
    else:
        rows = model.visual(image.permute(0, 3, 1, 2))
    return rows


def embed_tokens(model: clip.model.CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """Embed tokenized texts, (n, context_length): (n, d), not normalised."""
    ends = tokens.argmax(dim=-1)  # the end token is the highest number
    tokens = tokens[:, : int(ends.max()) + 1]  # attention looks back only: nothing after it counts
    x = model.token_embedding(tokens) + model.positional_embedding[: tokens.shape[1]]
    x = _run_blocks(model.transformer, x, causal=True)  # (n, length, width)
    x = x[torch.arange(len(x), device=x.device), ends]  # (n, width)
    rows: torch.Tensor = _norm(model.ln_final, x) @ model.text_projection
    return rows


# What follows computes the same as clip.model, but attends with scaled_dot_product_attention, takes patches by
# a matrix product instead of a convolution, and does not go to float32 and back around each norm.


def _embed_patches(visual: clip.model.VisionTransformer, image: torch.Tensor) -> torch.Tensor:
    width, _, side, _ = visual.conv1.weight.shape
    n, grid = len(image), image.shape[1] // side
    patches = image.reshape(n, grid, side, grid, side, 3).permute(0, 1, 3, 5, 2, 4)
    x = patches.reshape(n, grid * grid, 3 * side * side) @ visual.conv1.weight.reshape(width, -1).T
    x = torch.cat([visual.class_embedding.expand(n, 1, width), x], dim=1) + visual.positional_embedding
    x = _run_blocks(visual.transformer, _norm(visual.ln_pre, x), causal=False)
    rows: torch.Tensor = _norm(visual.ln_post, x[:, 0]) @ visual.proj
    return rows


def _run_blocks(transformer: clip.model.Transformer, x: torch.Tensor, *, causal: bool) -> torch.Tensor:
    n, length, width = x.shape
    x = x.reshape(n * length, width)
    # The two largest tensors, once for all blocks: to get their memory anew takes longer than to fill it.
    qkv = x.new_empty(n * length, 3 * width)
    hidden = x.new_empty(n * length, transformer.resblocks[0].mlp.c_fc.out_features)
    for block in transformer.resblocks:
        attn, fc = block.attn, block.mlp.c_fc
        torch.addmm(attn.in_proj_bias, _norm(block.ln_1, x), attn.in_proj_weight.T, out=qkv)
        q, k, v = qkv.view(n, length, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)  # (n, heads, length, -1)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + attn.out_proj(attended.transpose(1, 2).reshape(n * length, width))
        torch.addmm(fc.bias, _norm(block.ln_2, x), fc.weight.T, out=hidden)
        functional.silu(hidden.mul_(1.702), inplace=True).div_(1.702)  # QuickGELU: y * sigmoid(1.702 y)
        x = x + block.mlp.c_proj(hidden)
    return x.view(n, length, width)


def _norm(layer: torch.nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)

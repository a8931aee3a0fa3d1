"""CLIP's two towers: loaded without a spare copy, run at one precision throughout."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import torch
from torch.nn import functional

from videolib.encoding.weights import is_demo, is_official
from videolib.errors import ModelError

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import clip as clip  # the other modules take it from here, so that the warning is filtered for all

ARCHIVE_NUMBERS = {
    "input_resolution",
    "context_length",
    "vocab_size",
}  # beside the weights in OpenAI's archives
LARGEST_WIDTH = 1024  # of OpenAI's image towers; the wider ones of open_clip have heads of other sizes
UNPACKED = 16  # times its bytes that a file may take in memory; the demo model takes four times
# Of clip's own preprocessing: channel means and standard deviations of its training images.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def load_clip(path: Path, device: torch.device, dtype: torch.dtype, activation: str) -> clip.model.CLIP:
    """Load a checkpoint: a state dict, or one of OpenAI's own archives; ModelError if it is no CLIP model.

    The weights do not show which activation they were trained with: with "auto" it is QuickGELU, OpenAI's, and a
    warning if the file is not known to be theirs.

    `clip.load` makes a random model at full precision first, which costs as much memory again. Here the
    model is built without weights, and the file's tensors are converted one by one and become its weights.
    """
    state = _read_state(path)
    _check_weights(state, path)
    _check_layout(state, path)
    is_known = activation != "auto" or state.keys() >= ARCHIVE_NUMBERS or is_demo(path)
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter")
            model = clip.model.build_model(state)
        for name, weights in state.items():
            state[name] = weights.to(device, dtype) if weights.is_floating_point() else weights.to(device)
        model.load_state_dict(state, assign=True)
    except torch.cuda.OutOfMemoryError as error:
        raise ModelError(f"model must fit {device}, and {str(path)!r} does not: try device='cpu'") from error
    except Exception:  # a wrong shape or name; torch lists every one
        raise _no_clip(path, "has other tensors than a CLIP model") from None
    if activation == "gelu":
        for module in model.modules():
            if isinstance(module, clip.model.ResidualAttentionBlock):
                module.mlp.gelu = torch.nn.GELU()
    if not is_known:
        warnings.warn(
            f"{str(path)!r} does not tell whether it was trained with QuickGELU, as OpenAI's models were, or with "
            "GELU, as most of open_clip's: QuickGELU is taken, and with the wrong one it finds worse; pass "
            "activation='quick_gelu' or activation='gelu'",
            stacklevel=3,
        )
    return model


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a file. A TorchScript archive runs code while it is loaded: only OpenAI's own may."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.load` is deprecated")
        is_script = False
        try:
            if _is_safetensors(path):
                raise _no_clip(
                    path,
                    "is a safetensors file",
                    "save it anew by torch.save(safetensors.torch.load_file(path), 'model.pt')",
                )
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    entries = archive.infolist()
                is_script = any(entry.filename.endswith("/constants.pkl") for entry in entries)
                if sum(entry.file_size for entry in entries) > UNPACKED * path.stat().st_size:
                    raise _no_clip(path, "takes far more memory than it has bytes")
            if is_script and is_official(path):
                return torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call, no-any-return]
            if not is_script:
                return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
        except ModelError:
            raise
        except Exception:  # torch raises nearly anything on a damaged file, and advises to read it unguarded
            raise _no_clip(path, "is damaged, or holds more than tensors") from None
    raise _no_clip(
        path, "is a TorchScript archive, which runs code while it is loaded, and not one of OpenAI's"
    )


def _check_weights(state: object, path: Path) -> None:
    """Refuse what cannot be a model's weights, or takes far more memory than the file has bytes."""
    if not isinstance(state, dict) or not all(isinstance(each, torch.Tensor) for each in state.values()):
        raise _no_clip(path, "holds more than tensors by name")
    total = 0
    for name, weights in state.items():
        if weights.layout != torch.strided or weights.is_quantized or weights.is_complex():
            raise _no_clip(path, f"has {str(name)[:80]!r} not as a dense tensor of real numbers")
        total += weights.numel() * weights.element_size()
        if total > UNPACKED * path.stat().st_size:
            raise _no_clip(path, "takes far more memory than it has bytes")
        if weights.is_floating_point() and not weights.sum(dtype=torch.float64).isfinite():
            raise _no_clip(path, f"has {str(name)[:80]!r} with NaN or infinity")
        if weights.ndim > 1 and not weights.any():
            raise _no_clip(path, f"has {str(name)[:80]!r} with zeros alone")


def _check_layout(state: dict[str, torch.Tensor], path: Path) -> None:
    """Refuse what another library wrote, where it can be told by name or would compute something else."""
    if "text_model.embeddings.token_embedding.weight" in state:
        raise _no_clip(
            path,
            "is one of transformers' CLIPModel, with tensors of other names",
            "give OpenAI's own by its name, such as 'ViT-B/32', or convert it",
        )
    width = state.get("visual.class_embedding", torch.empty(0)).numel()
    if width > LARGEST_WIDTH:
        raise _no_clip(
            path,
            f"is {width} wide, as open_clip's ViT-H and larger ones, whose attention has heads of other sizes",
            "use a ViT-B or ViT-L",
        )


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def _no_clip(
    path: Path,
    problem: str,
    remedy: str = "download it again, or save the model's state_dict() with torch.save",
) -> ModelError:
    return ModelError(f"model must be a CLIP checkpoint, got {str(path)!r}, which {problem}: {remedy}")


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


def is_quick(transformer: clip.model.Transformer) -> bool:
    """Tell whether its activation is QuickGELU, as in all of OpenAI's models."""
    return isinstance(transformer.resblocks[0].mlp.gelu, clip.model.QuickGELU)


def _run_blocks(transformer: clip.model.Transformer, x: torch.Tensor, *, causal: bool) -> torch.Tensor:
    n, length, width = x.shape
    quick = is_quick(transformer)
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
        if quick:  # y * sigmoid(1.702 y)
            functional.silu(hidden.mul_(1.702), inplace=True).div_(1.702)
        else:
            hidden = functional.gelu(hidden)
        x = x + block.mlp.c_proj(hidden)
    return x.view(n, length, width)


def _norm(layer: torch.nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)

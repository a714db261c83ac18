"""Layouts of vision transformers that are neither timm's nor read by its filters -> those of the official releases."""

from __future__ import annotations

import re

import torch

_RENAMED = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        # Embeddings: ViT and DINOv2, DINOv3, SigLIP and CLIP.
        (r"^embeddings\.cls_token$", "cls_token"),
        (r"^embeddings\.class_embedding$", "cls_token"),
        (r"^embeddings\.mask_token$", "mask_token"),
        (r"^embeddings\.register_tokens$", "register_tokens"),
        (r"^embeddings\.position_embeddings$", "pos_embed"),
        (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
        (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
        (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
        # Blocks.
        (r"^(encoder\.)?layers?\.(\d+)\.", r"blocks.\2."),
        (r"\.(attention\.attention|attention|self_attn)\.(query|key|value|q_proj|k_proj|v_proj)\.", r".attn.\2."),
        (r"\.(attention\.output\.dense|attention\.o_proj|self_attn\.out_proj)\.", ".attn.proj."),
        (r"\.(layernorm_before|layer_norm1)\.", ".norm1."),
        (r"\.(layernorm_after|layer_norm2)\.", ".norm2."),
        (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
        (r"\.(intermediate\.dense|mlp\.up_proj)\.", ".mlp.fc1."),
        (r"\.(output\.dense|mlp\.down_proj)\.", ".mlp.fc2."),
        # Before and after the blocks; SigLIP's pooling head.
        (r"^pre_layrnorm\.", "norm_pre."),
        (r"^(layernorm|post_layernorm)\.", "norm."),
        (r"^head\.probe$", "attn_pool.latent"),
        (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
        (r"^head\.layernorm\.", "attn_pool.norm."),
        (r"^head\.mlp\.", "attn_pool.mlp."),
    )
)
_PARTS = {"query": 0, "key": 1, "value": 2, "q_proj": 0, "k_proj": 1, "v_proj": 2}


def from_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The vision tower of ViT, DINOv2, DINOv3, CLIP or SigLIP in the layout of `transformers`, renamed.

    Queries, keys and values become one matrix; a key without bias (DINOv3) gets zeros, which is the same.
    """
    if not any(name.startswith("embeddings.") for name in state):
        return {}
    renamed: dict[str, torch.Tensor] = {}
    parts: dict[str, dict[int, torch.Tensor]] = {}
    for name, value in state.items():
        new = name
        for pattern, replacement in _RENAMED:
            new = pattern.sub(replacement, new)
        if name.startswith("head.attention.in_proj"):  # SigLIP's probe is the query, the tokens are keys and values
            kind = name.rpartition("_")[2]
            query, rest = value[: len(value) // 3], value[len(value) // 3 :]
            renamed |= {f"attn_pool.q.{kind}": query, f"attn_pool.kv.{kind}": rest}
        elif (match := re.fullmatch(r"(blocks\.\d+\.attn)\.(\w+)\.(weight|bias)", new)) and match[2] in _PARTS:
            parts.setdefault(f"{match[1]}.qkv.{match[3]}", {})[_PARTS[match[2]]] = value
        elif name == "embeddings.position_embedding.weight":
            renamed[new] = value[None]
        elif name == "embeddings.class_embedding":
            renamed[new] = value[None, None]
        elif name != "embeddings.position_ids" and not name.startswith("pooler."):
            renamed[new] = value
    for name, three in parts.items():
        like = three[0]
        renamed[name] = torch.cat([three.get(part, torch.zeros_like(like)) for part in range(3)])
    if "patch_embed.proj.weight" in renamed and "register_tokens" in renamed and "pos_embed" not in renamed:
        renamed["storage_tokens"] = renamed.pop("register_tokens")  # DINOv3's own name for them
    return renamed


def without_chunks(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """DINOv2 and v3 in training, which keep their blocks in chunks: blocks.CHUNK.BLOCK.x -> blocks.BLOCK.x."""
    pattern = re.compile(r"^blocks\.\d+\.(\d+)\.")
    return {pattern.sub(r"blocks.\1.", name): value for name, value in state.items()}


def from_dinov3(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """DINOv3 as its training code names it, into timm's names; also without the registers by which timm tells it.

    One bias of queries, keys and values becomes three, of which timm keeps that of the keys as a buffer.
    """
    if not any(name.endswith(("qkv.bias_mask", "rope_embed.periods", "ls1.gamma", "gamma_1")) for name in state):
        return {}
    renamed: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if name.endswith(("mask_token", "qkv.bias_mask", "rope_embed.periods")) or name.startswith("local_cls_norm"):
            continue
        new = re.sub(r"\.ls(\d)\.gamma$", r".gamma_\1", name).replace("storage_tokens", "reg_token")
        if new.endswith("attn.qkv.bias"):
            parts = value.chunk(3)
            renamed |= {new.replace("qkv.bias", f"{part}_bias"): parts[at] for at, part in enumerate("qkv")}
        else:
            renamed[new] = value
    return renamed

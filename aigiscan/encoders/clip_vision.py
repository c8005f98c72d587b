"""open_clip's vision transformer from pixels to the embedding, its residual stream and its final norm in the open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aigiscan.encoders.attention import ALL, Attend, fused, through_block

if TYPE_CHECKING:
    import torch

    from aigiscan.encoders.base import EncoderOptions


class VisionTower:
    """One tower in the pooling and projection of ``options``; shapes: b images, t tokens, D width, d joint space.

    visual: open_clip's module, its weights still in float32; the final norm and the projection are copied from it, so
    that they stay in float32 when it is cast. vision: ``vision_cfg`` of its configuration.
    """

    def __init__(
        self,
        visual: Any,
        vision: dict[str, Any],
        options: EncoderOptions,
        device: torch.device,
        attend: Attend = fused,
    ) -> None:
        self.visual = visual
        self._options = options
        self._attend = attend
        self._average = vision.get("pool_type", "tok") == "avg"
        # The model itself normalises tokens before it averages them; there is no pooled residual stream then.
        self._norm_first = self._average and not vision.get("final_ln_after_pool") and options.pooling == "class"
        norm = visual.ln_post
        self._eps = norm.eps
        self._gamma, self._beta = (t.detach().clone().to(device) for t in (norm.weight, norm.bias))
        self._projection = None if visual.proj is None else visual.proj.detach().clone().to(device)

    @property
    def blocks(self) -> Any:
        """The layers."""
        return self.visual.transformer.resblocks

    @property
    def wanted(self) -> slice:
        """The tokens that are pooled."""
        if self._options.pooling == "mean":
            return ALL
        return slice(1, None) if self._average else slice(0, 1)

    def residual(
        self, pixels: torch.Tensor, seen: list[torch.Tensor] | None = None, depth: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled token before the first layer and after the last, float32 [b, D] each.

        seen: takes the pooled token after every layer. depth: stop after so many layers, 0 for none; what is given for
        the last one is then good for nothing but the last of ``seen``.
        """
        x = self.visual._embeds(pixels)  # [b, t, D]
        start = self.pool(x)
        *blocks, last = self.blocks[: depth or None]
        for block in blocks:
            x = through_block(block, x, self._attend)
            if seen is not None:
                seen.append(self.pool(x))
        # Of the last layer's output only what is pooled; an average takes all tokens but one.
        x = through_block(last, x, self._attend, ALL if self._average else self.wanted)
        if seen is not None:
            seen.append(self.pool(x))
        if self._norm_first:
            import torch

            x = torch.nn.functional.layer_norm(x.float(), x.shape[-1:], self._gamma, self._beta, self._eps)
        return start, self.pool(x)

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [b, t, c] → the pooled one, float32 [b, c]. Linear, so it may be taken of any summand."""
        return tokens[:, self.wanted].float().mean(1)

    # The final layer norm and projection, in float32

    def sigma(self, pooled: torch.Tensor) -> torch.Tensor:
        """Standard deviation of the final layer norm, epsilon included, [b]."""
        return (pooled.var(-1, correction=0) + self._eps).sqrt()

    def through_norm(self, stream: torch.Tensor) -> torch.Tensor:
        """The linear part of norm and projection without 1/σ: ``stream Π diag(γ) P``, [..., D] → [..., d]."""
        return self.project((stream - stream.mean(-1, keepdim=True)) * self._gamma)

    def norm_bias(self) -> torch.Tensor:
        """β of the final layer norm, projected, [d]."""
        return self.project(self._beta)

    def project(self, stream: torch.Tensor) -> torch.Tensor:
        """Into the joint space, or nothing for hidden features."""
        if self._options.projection == "hidden" or self._projection is None:
            return stream
        return stream @ self._projection

    def embed(self, pooled: torch.Tensor) -> torch.Tensor:
        """Pooled residual stream [b, D] → embedding [b, d], not normalised."""
        if self._norm_first:
            return self.project(pooled)
        return self.through_norm(pooled) / self.sigma(pooled)[:, None] + self.norm_bias()

    def length(self, embedding: torch.Tensor) -> torch.Tensor:
        """What an embedding [b, d] is divided by: its length if the encoder normalises, else 1. [b, 1]"""
        import torch

        return embedding.norm(dim=1, keepdim=True) if self._options.normalize else torch.ones_like(embedding[:, :1])


def why_no_heads(config: dict[str, Any], pooling: str = "class") -> str:
    """Why the heads of this open_clip configuration cannot be captured exactly, or "" if they can."""
    vision = config["vision_cfg"]
    if isinstance(vision.get("layers", 12), (list, tuple)):
        return "a CLIP ResNet has convolutions, not attention heads in its layers"
    if "timm_model_name" in vision:
        return "its image tower is a timm model"
    if vision.get("attentional_pool"):
        return "it pools by attention, so that its embedding is no sum over the heads' layers"
    if vision.get("scale_attn"):
        return "it normalises the attention's output, so that its embedding is no sum over heads"
    if pooling == "mean":
        return ""  # our own mean, taken before the final layer norm
    if vision.get("pool_type", "tok") == "avg" and not vision.get("final_ln_after_pool"):
        return "it averages tokens after the final layer norm, each with a σ of its own"
    return "" if vision.get("pool_type", "tok") in ("tok", "avg") else "it does not pool its tokens"

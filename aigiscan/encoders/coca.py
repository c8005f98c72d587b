"""``open_clip:coca_…``: captions by CoCa (Yu et al., 2022), the captioner that open_clip itself ships."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aigiscan.encoders.describe import Captioner
from aigiscan.encoders.open_clip_encoder import OpenClipEncoder
from aigiscan.encoders.options import EncoderOptions
from aigiscan.encoders.weights import file_sha256
from aigiscan.errors import EncoderError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

#: tokens of a caption, start and end included; and the fewest before it may end: open_clip's own defaults
LENGTH, SHORTEST = 30, 5


class CocaCaptioner(Captioner):
    """Greedy decoding: token for token what ``CoCa.generate(generation_type="top_k", top_k=1)`` of open_clip gives.

    open_clip's own method refuses to run beside transformers 5, whose beam scorer is gone; this one needs neither.
    There is no prompt.
    """

    kind = "open_clip"

    def __init__(
        self, argument: str, prompt: str = "", device: str = "auto", expected: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(argument, prompt, device, expected)
        if prompt:
            raise EncoderError(f"open_clip:{argument} takes no prompt; leave out --prompt")
        self._clip = OpenClipEncoder(argument, EncoderOptions(device=device, precision="fp32"))
        if "multimodal_cfg" not in self._clip.source.config:
            raise EncoderError(
                f"{self._clip.name} writes no captions; use a CoCa, such as "
                "open_clip:coca_ViT-L-14/mscoco_finetuned_laion2b_s13b_b90k"
            )

    def own_fingerprint(self) -> dict[str, Any]:
        """See :meth:`DescribingModel.own_fingerprint`."""
        source = self._clip.source
        return {
            "source": self._clip.name,
            "weights": file_sha256(source.weights()),
            "config": source.config_digest(),
            "prompt": "",
            "decoding": f"greedy, {SHORTEST} to {LENGTH} tokens",
        }

    @cached_property
    def _tokenizer(self) -> Any:
        from aigiscan.encoders.clip_text import tokenizer_of

        return tokenizer_of(self._clip)

    def caption(self, pictures: Sequence[Image]) -> list[str]:
        """See :meth:`Captioner.caption`."""
        self.check()
        import torch

        with torch.inference_mode():
            pixels = self._clip.pixels([self._clip.prepare(picture) for picture in pictures])
            rows = self.generate(pixels).tolist()
        start, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        kept = [[i for i in (row[: row.index(end)] if end in row else row) if i != start] for row in rows]
        return [" ".join(self._tokenizer.decode(ids).split()) for ids in kept]

    def generate(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised pixels [b, 3, h, w] → token ids [b, t], from start to end; after an end comes padding."""
        import torch

        model = self._clip.model
        start, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        latent, embeddings = model._encode_image(pixels)
        ids = torch.full((len(pixels), 1), start, dtype=torch.long, device=pixels.device)
        ended = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
        while ids.shape[1] < LENGTH and not bool(ended.all()):
            seen = {"image_latent": latent, "image_embs": embeddings, "output_labels": False}
            logits = model(pixels, ids, **seen)["logits"][:, -1]  # [b, v]
            if ids.shape[1] < SHORTEST:
                logits[:, end] = -torch.inf
            following = torch.full_like(ended, end, dtype=torch.long)
            if ids.shape[1] + 1 < LENGTH:
                following = logits.argmax(-1)
            following = torch.where(ended, model.pad_id, following)
            ids = torch.cat([ids, following[:, None]], dim=1)
            ended |= following == end
        return ids

"""``hf:NAME_OR_FOLDER``: captions by BLIP, BLIP-2 or LLaVA and objects by Grounding DINO, through transformers.

The paper of TIDY captions with BLIP-2 and compares BLIP and LLaVA (section 4.3, figure 8); it finds objects with GLIP,
which no maintained package ships. Grounding DINO does the same: given the caption it gives boxes and, for each, the
words it grounds, so that no noun chunker is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigiscan.encoders.describe import Captioner, DescribingModel, Grounder
from aigiscan.encoders.device import choose_device
from aigiscan.encoders.hub import find_folder_on_hub
from aigiscan.encoders.weights import file_sha256, one_line
from aigiscan.errors import EncoderError, MissingDependencyError
from aigiscan.images.beside import Region

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

#: section 4.3, for models that answer (LLaVA)
PROMPT = "Please generate a one-sentence caption for the input image."
#: tokens of a caption at most
NEW_TOKENS = 40
#: Grounding DINO's own: how sure a box, and a word of it, must be
BOX_THRESHOLD, WORD_THRESHOLD = 0.25, 0.25
#: objects of one picture at most, the surest; a sentence names fewer
MOST_OBJECTS = 16
#: tokens of a caption that Grounding DINO was trained with at most
_MOST_WORDS = 256


class HfModel(DescribingModel):
    """A transformers model in a folder, or in the Hugging Face cache or hub. Weights are safetensors alone."""

    kind = "hf"
    _auto: str

    @cached_property
    def folder(self) -> Path:
        """Where its files lie; downloaded if they must be and can be."""
        folder = Path(self.argument).expanduser()
        return folder.absolute() if folder.is_dir() else find_folder_on_hub(self.argument, give="hf:FOLDER")

    @cached_property
    def _config(self) -> dict[str, Any]:
        try:
            config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
            if not isinstance(config, dict):
                raise ValueError("no object")
        except (OSError, ValueError) as error:
            raise EncoderError(f"hf:{self.argument}: no usable config.json: {one_line(error)}") from error
        return config

    def own_fingerprint(self) -> dict[str, Any]:
        """See :meth:`DescribingModel.own_fingerprint`; ``weights`` is a digest over all safetensors files."""
        files = sorted(self.folder.glob("*.safetensors"))
        if not files:
            raise EncoderError(
                f"hf:{self.argument}: no .safetensors file in {self.folder}; pickled weights are not read"
            )
        config = json.dumps(self._config, sort_keys=True)
        parts = "\n".join([config, *(f"{file.name} {file_sha256(file)}" for file in files)])
        place = self.folder if Path(self.argument).expanduser().is_dir() else self.argument
        return {"source": f"hf:{place}", "weights": hashlib.sha256(parts.encode()).hexdigest()}

    @cached_property
    def _device(self) -> torch.device:
        return choose_device(self.device_name)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """The processor and the model."""
        try:
            import transformers
        except ImportError as error:
            raise MissingDependencyError(f"hf:{self.argument} needs: pip install 'aigiscan[captions]'") from error
        import torch
        from safetensors import SafetensorError

        assert self._config  # says what is wrong with the folder more shortly than the library does
        self.check()
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        dtype = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        try:
            processor = transformers.AutoProcessor.from_pretrained(self.folder, local_files_only=True)
            model = getattr(transformers, self._auto).from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True, dtype=dtype
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
            raise EncoderError(f"hf:{self.argument}: cannot be loaded from {self.folder}: {one_line(error)}") from error
        return processor, model.to(self._device).eval().requires_grad_(False)

    def _inputs(self, **given: Any) -> Any:
        processor, model = self._loaded
        return processor(return_tensors="pt", **given).to(self._device, dtype=model.dtype)


class HfCaptioner(HfModel, Captioner):
    """Any image-to-text model of transformers that gives a sentence: BLIP, BLIP-2, GIT, LLaVA. Greedy decoding."""

    _auto = "AutoModelForImageTextToText"

    @property
    def _answers(self) -> bool:
        return str(self._config.get("model_type")).startswith("llava")

    @property
    def _prompt(self) -> str:
        return self.prompt or (PROMPT if self._answers else "")

    def own_fingerprint(self) -> dict[str, Any]:
        """Also ``prompt`` and ``decoding``."""
        return {**super().own_fingerprint(), "prompt": self._prompt, "decoding": f"greedy, {NEW_TOKENS} tokens"}

    def caption(self, pictures: Sequence[Image]) -> list[str]:
        """See :meth:`Captioner.caption`."""
        import torch

        processor, model = self._loaded
        prompt = self._text(processor)
        inputs = self._inputs(images=list(pictures), **({"text": [prompt] * len(pictures)} if prompt else {}))
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1)
        asked = inputs.get("input_ids")
        if asked is not None and ids.shape[1] >= asked.shape[1] and bool((ids[:, : asked.shape[1]] == asked).all()):
            ids = ids[:, asked.shape[1] :]  # the question is no part of the answer
        return [" ".join(text.split()) for text in processor.batch_decode(ids, skip_special_tokens=True)]

    def _text(self, processor: Any) -> str:
        """The prompt as the model was taught to read it."""
        if not self._answers:
            return self._prompt
        if not getattr(processor, "chat_template", None):
            return f"USER: <image>\n{self._prompt} ASSISTANT:"
        content = [{"type": "image"}, {"type": "text", "text": self._prompt}]
        asked = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return str(asked)


class HfGrounder(HfModel, Grounder):
    """Grounding DINO, given the caption as it is (lower case, one full stop at its end)."""

    _auto = "AutoModelForZeroShotObjectDetection"

    def own_fingerprint(self) -> dict[str, Any]:
        """Also ``thresholds``."""
        return {**super().own_fingerprint(), "thresholds": [BOX_THRESHOLD, WORD_THRESHOLD, MOST_OBJECTS]}

    def ground(self, pictures: Sequence[Image], captions: Sequence[str]) -> list[list[Region]]:
        """See :meth:`Grounder.ground`."""
        import torch

        processor, model = self._loaded
        texts = [caption.lower().rstrip(". ") + "." for caption in captions]
        inputs = self._inputs(images=list(pictures), text=texts, padding=True, truncation=True, max_length=_MOST_WORDS)
        with torch.inference_mode():
            outputs = model(**inputs)
        found = processor.post_process_grounded_object_detection(
            outputs,
            inputs["input_ids"],
            threshold=BOX_THRESHOLD,
            text_threshold=WORD_THRESHOLD,
            target_sizes=[(picture.height, picture.width) for picture in pictures],
        )
        special = processor.tokenizer.all_special_tokens
        return [_regions(one, picture.size, special) for one, picture in zip(found, pictures, strict=True)]


def _regions(found: Any, size: tuple[int, int], special: Sequence[str]) -> list[Region]:
    """What was found in one picture, the surest first; a box is cut at the edges, one without words left out."""
    regions = []
    for i in found["scores"].float().argsort(descending=True, stable=True).tolist():
        x0, y0, x1, y1 = found["boxes"][i].float().tolist()
        x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(size[0])), min(y1, float(size[1]))
        phrase = found["text_labels"][i]
        for token in special:
            phrase = phrase.replace(token, " ")
        phrase = " ".join(phrase.replace(".", " ").split())
        if phrase and x1 - x0 >= 1 and y1 - y0 >= 1:
            regions.append(Region(phrase, (x0, y0, x1, y1)))
    return regions[:MOST_OBJECTS]

"""Vocabularies: IPTC digital source types, and the names by which tools, makers and credits name generators."""

from __future__ import annotations

import re

#: IPTC digital source types, http://cv.iptc.org/newscodes/digitalsourcetype/: word → (what it means, says AI)
SOURCE_TYPES = {
    "trainedAlgorithmicMedia": ("made by AI", True),
    "compositeWithTrainedAlgorithmicMedia": ("composite with AI-made parts", True),
    "compositeSynthetic": ("composite with synthetic parts", False),
    "algorithmicMedia": ("made by an algorithm that learnt from no samples", False),
    "algorithmicallyEnhanced": ("enhanced by an algorithm", False),
    "virtualRecording": ("virtual recording", False),
    "dataDrivenMedia": ("made from data", False),
    "digitalCapture": ("digital capture", False),
    "computationalCapture": ("computational capture", False),
    "compositeCapture": ("composite of captures", False),
    "screenCapture": ("screen capture", False),
    "digitisedFromNegative": ("scan of film", False),
    "negativeFilm": ("scan of film", False),
    "positiveFilm": ("scan of film", False),
    "print": ("scan of a print", False),
    "digitalArt": ("digital art", False),
    "digitalCreation": ("made by a person with software", False),
    "humanEdits": ("edited by a person", False),
    "minorHumanEdits": ("edited a little by a person", False),
    "composite": ("composite", False),
    "softwareImage": ("made by software", False),
}

#: names in fields that name a tool, a maker or a credit; (pattern, generator)
_NAMES = tuple(
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in (
        (r"\bmidjourney\b", "Midjourney"),
        (r"\bdall[·\-. ]?e\b|openai|\bchatgpt\b|\bgpt-image", "OpenAI"),
        (r"\badobe firefly\b|^firefly\b", "Adobe Firefly"),
        (r"made with google ai|ai-generated with google|\bgoogle (imagen|gemini)\b", "Google AI"),
        (r"^imagen\b|^gemini\b|nano banana", "Google AI"),
        (r"\bideogram\b", "Ideogram"),
        (r"\bleonardo\.? ?ai\b", "Leonardo.Ai"),
        (r"\bnovelai\b", "NovelAI"),
        (r"\bcomfyui\b", "ComfyUI"),
        (r"\binvoke ?ai\b", "InvokeAI"),
        (r"\bfooocus\b", "Fooocus"),
        (r"\bswarmui\b", "SwarmUI"),
        (r"\bdraw things\b", "Draw Things"),
        (r"\beasy diffusion\b", "Easy Diffusion"),
        (r"\bautomatic1111\b|stable[- ]diffusion[- ]web", "Stable Diffusion web UI"),
        (r"\bdiffusionbee\b", "DiffusionBee"),
        (r"\bstability ?ai\b|\bdream ?studio\b|\bstable[- ]?diffusion\b|\bsdxl\b", "Stable Diffusion"),
        (r"\bblack forest labs\b|\bflux[.\- ]?[12]\b", "FLUX"),
        (r"bing image creator|image creator from designer|microsoft (responsible ai|designer)", "Microsoft"),
        (r"\bxai\b|\bgrok\b", "xAI Grok"),
        (r"imagined with (meta )?ai|\bmeta ai\b", "Meta AI"),
        (r"\brecraft\b", "Recraft"),
        (r"\bkrea( ?ai|\.ai)\b", "Krea"),
        (r"\bplayground ?ai\b|\bplayground v[23]", "Playground"),
        (r"\bnightcafe\b", "NightCafe"),
        (r"\bstarryai\b", "starryai"),
        (r"\bcraiyon\b", "Craiyon"),
        (r"\bcivitai\b", "Civitai"),
        (r"\btensor\.art\b", "Tensor.Art"),
        (r"\brunway(ml| gen)?\b", "Runway"),
        (r"\bseedream\b|\bdoubao\b|\bjimeng\b|豆包|即梦", "ByteDance Seedream"),
        (r"\bkling( ?ai)?\b|可灵", "Kling"),
        (r"\btongyi\b|\bwanxiang\b|通义", "Tongyi Wanxiang"),
        (r"\bhunyuan\b|混元", "Hunyuan"),
        (r"\bernie[- ]?vilg\b|文心", "ERNIE-ViLG"),
        (r"\bcanva (magic|ai)\b|magic media", "Canva"),
        (r"^ai[- ]generated\b", "AI, unnamed"),
        (r"\b(generated|created|made) (by|with|using) (an? )?(ai|artificial intelligence)\b", "AI, unnamed"),
    )
)  # fmt: skip


def generator_name(text: str) -> str:
    """The generator that a tool's name or a credit line names, "" if none."""
    return next((name for pattern, name in _NAMES if pattern.search(text)), "")

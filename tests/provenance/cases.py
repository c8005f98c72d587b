"""A file for every row of docs/provenance.md: name, bytes, kind of claim, what its value says, whether it says AI."""

from __future__ import annotations

import json
from collections.abc import Iterator

from files import exif, extended_xmp, gif_with_xmp, iptc, jpeg_with, jxl, png, samsung_trailer, saved, user_comment, xmp

Case = tuple[str, bytes, str, str, bool]

WEB_UI = "a dog\nNegative prompt: cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x512, Model: dreamshaper_8"
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
JOB = "a fox --ar 3:2 --v 6.1 Job ID: 0f2a8f0e-1111-4222-8333-123456789abc"
COMFY = {"3": {"class_type": "KSampler", "inputs": {"seed": 7, "steps": 25, "sampler_name": "dpmpp_2m"}},
         "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}}}  # fmt: skip
WORKFLOW = {"nodes": [{"type": "UNETLoader", "widgets_values": ["flux1-dev.safetensors", "default"]}], "links": []}
SWARM = {
    "sui_image_params": {"prompt": "a dog", "model": "OfficialStableDiffusion/sd_xl_base_1.0", "seed": 5, "steps": 20}
}
AIGC = {"Label": "1", "ContentProducer": "doubao", "ProduceID": "1", "ReservedCode1": ""}
NOVEL = {"Title": "NovelAI generated image", "Description": "a dog", "Software": "NovelAI",
         "Source": "NovelAI Diffusion V4 37442FCA", "Comment": json.dumps({"steps": 28, "seed": 9, "sampler": "k_euler"})}  # fmt: skip
UUID = "123e4567-e89b-42d3-a456-426614174000"


def cases() -> Iterator[Case]:
    yield (
        "a1111 png",
        png({"parameters": WEB_UI}),
        "generator",
        "Stable Diffusion web UI, model dreamshaper_8, seed 42",
        True,
    )
    yield "a1111 zTXt", png({"parameters": WEB_UI}, kind="zTXt"), "generator", "Stable Diffusion web UI, model", True
    yield "a1111 iTXt", png({"parameters": WEB_UI}, kind="iTXt-z", after=True), "generator", "steps 20", True
    yield (
        "a1111 jpeg",
        saved("JPEG", exif=exif(sub={0x9286: user_comment(WEB_UI)})),
        "generator",
        "sampler Euler a",
        True,
    )
    yield (
        "a1111 webp",
        saved("WEBP", exif=exif(sub={0x9286: user_comment(WEB_UI)})),
        "generator",
        "Stable Diffusion web UI",
        True,
    )
    yield (
        "a1111 avif",
        saved("AVIF", exif=exif(sub={0x9286: user_comment(WEB_UI)})),
        "generator",
        "Stable Diffusion web UI",
        True,
    )
    yield (
        "forge",
        png({"parameters": WEB_UI + ", Version: f2.0.1v1.10.1"}),
        "generator",
        "Stable Diffusion web UI Forge",
        True,
    )
    yield (
        "civitai",
        png({"parameters": WEB_UI + ', Civitai resources: [{"type":"checkpoint"}]'}),
        "generator",
        "Civitai",
        True,
    )
    yield (
        "comfy prompt",
        png({"prompt": json.dumps(COMFY)}),
        "generator",
        "ComfyUI, model sd_xl_base_1.0.safetensors, seed 7, steps 25, sampler dpmpp_2m",
        True,
    )
    yield (
        "comfy workflow",
        png({"workflow": json.dumps(WORKFLOW)}),
        "generator",
        "ComfyUI, model flux1-dev.safetensors",
        True,
    )
    yield (
        "comfy webp",
        saved("WEBP", exif=exif({0x010F: "workflow:" + json.dumps(WORKFLOW), 0x0110: "prompt:" + json.dumps(COMFY)})),
        "generator",
        "ComfyUI, model",
        True,
    )
    yield (
        "invoke 3",
        png({"invokeai_metadata": json.dumps({"app_version": "3.4", "model": {"model_name": "sdxl"}, "seed": 3})}),
        "generator",
        "InvokeAI, version 3.4, model sdxl, seed 3",
        True,
    )
    yield (
        "invoke 2",
        png({"sd-metadata": json.dumps({"model_weights": "sd-1.5", "app_id": "invoke-ai/InvokeAI"})}),
        "generator",
        "InvokeAI, model sd-1.5",
        True,
    )
    yield "invoke 1", png({"Dream": '"a dog" -s 50 -S 42'}), "generator", "InvokeAI", True
    yield (
        "fooocus",
        png(
            {
                "parameters": json.dumps({"base_model": "juggernautXL", "version": "Fooocus v2.2", "seed": "8"}),
                "fooocus_scheme": "fooocus",
            }
        ),
        "generator",
        "Fooocus, model juggernautXL, seed 8",
        True,
    )
    yield (
        "fooocus a1111",
        png({"parameters": WEB_UI + ", Version: Fooocus v2.5.5", "fooocus_scheme": "a1111"}),
        "generator",
        "Fooocus",
        True,
    )
    yield "novelai", png(NOVEL), "generator", "NovelAI, model NovelAI Diffusion V4 37442FCA, seed 9, steps 28", True
    yield (
        "swarm png",
        png({"parameters": json.dumps(SWARM, indent=2)}, kind="iTXt"),
        "generator",
        "SwarmUI, model OfficialStableDiffusion/sd_xl_base_1.0, seed 5",
        True,
    )
    yield (
        "swarm jpeg",
        saved("JPEG", exif=exif(sub={0x9286: user_comment(json.dumps(SWARM))})),
        "generator",
        "SwarmUI",
        True,
    )
    yield (
        "easy diffusion png",
        png({"use_stable_diffusion_model": "sd-v1-5", "seed": "77", "prompt": "a dog"}),
        "generator",
        "Easy Diffusion, model sd-v1-5, seed 77",
        True,
    )
    yield (
        "easy diffusion jpeg",
        saved(
            "JPEG",
            exif=exif(sub={0x9286: user_comment(json.dumps({"use_stable_diffusion_model": "sd-v1-5", "seed": 77}))}),
        ),
        "generator",
        "Easy Diffusion, model sd-v1-5",
        True,
    )
    draw = xmp(xmp_CreatorTool="Draw Things", exif_UserComment='{"model":"sdxl_turbo","seed":4,"steps":8}')
    yield (
        "draw things",
        png({"XML:com.adobe.xmp": draw.decode()}, kind="iTXt"),
        "generator",
        "Draw Things, model sdxl_turbo, seed 4, steps 8",
        True,
    )
    yield (
        "midjourney",
        png({"Description": JOB, "Author": "someone"}),
        "generator",
        "Midjourney, version 6.1, job 0f2a8f0e",
        True,
    )
    yield "midjourney iptc", iptc(Credit="Midjourney"), "generator", "Midjourney", True
    yield (
        "dalle 2",
        saved(
            "JPEG", exif=exif({0x927C: b"OpenAI--ImageGeneration--generation-abc", 0x9286: b"Made with OpenAI Labs"})
        ),
        "generator",
        "OpenAI DALL·E",
        True,
    )
    yield (
        "dalle 2 comment",
        saved("JPEG", exif=exif({0x9286: b"Made with OpenAI Labs"})),
        "generator",
        "OpenAI DALL·E",
        True,
    )
    yield (
        "grok",
        saved("JPEG", exif=exif({0x010E: "Signature: " + "Ab9+" * 24, 0x013B: UUID})),
        "generator",
        f"xAI Grok, image {UUID}",
        True,
    )
    yield "ideogram", saved("JPEG", exif=exif({0x010F: "Ideogram AI"})), "generator", "Ideogram", True
    yield "leonardo", saved("JPEG", exif=exif({0x0131: "Leonardo.Ai"})), "generator", "Leonardo.Ai", True
    yield "firefly", saved("JPEG", xmp=xmp(xmp_CreatorTool="Adobe Firefly")), "generator", "Adobe Firefly", True
    yield "bing", saved("JPEG", exif=exif({0x0131: "Microsoft Designer"})), "generator", "Microsoft", True
    yield "google iptc", iptc(Credit="Made with Google AI"), "generator", "Google AI", True
    yield "google xmp", saved("JPEG", xmp=xmp(photoshop_Credit="Made with Google AI")), "generator", "Google AI", True
    yield (
        "google edited",
        saved("JPEG", xmp=xmp(photoshop_Credit="Edited with Google AI")),
        "edit",
        "Edited with Google AI",
        True,
    )
    yield "ai-generated credit", iptc(Special_Instructions="AI-generated"), "generator", "AI, unnamed", True
    yield "samsung", samsung_trailer(b"PhotoEditor_Re_Edit_Data", b'{"genAIType":1}'), "edit", "Samsung Galaxy AI", True
    yield (
        "aigc xmp",
        saved("JPEG", xmp=xmp(TC260_AIGC=json.dumps(AIGC).replace('"', "&quot;"))),
        "generator",
        "AIGC label: AI-generated, producer doubao",
        True,
    )
    yield "aigc png", png({"AIGC": json.dumps(AIGC)}), "generator", "AIGC label: AI-generated", True
    yield (
        "aigc exif",
        saved("JPEG", exif=exif(sub={0x9286: user_comment(json.dumps({"AIGC": AIGC}))})),
        "generator",
        "AIGC label",
        True,
    )
    yield (
        "aigc suspected",
        png({"AIGC": json.dumps({**AIGC, "Label": "3"})}),
        "generator",
        "AIGC label: suspected AI-generated",
        True,
    )
    yield (
        "iptc 2025",
        saved("JPEG", xmp=xmp(Iptc4xmpExt_AISystemUsed="Gizmo Image", Iptc4xmpExt_AISystemVersionUsed="4")),
        "generator",
        "Gizmo Image, version 4",
        True,
    )
    typed = xmp(Iptc4xmpExt_DigitalSourceType=SOURCE + "trainedAlgorithmicMedia")
    for form in ("JPEG", "WEBP", "AVIF", "TIFF"):
        options = {"tiffinfo": {700: typed}} if form == "TIFF" else {"xmp": typed}
        yield f"source type {form}", saved(form, **options), "source_type", "made by AI (trainedAlgorithmicMedia)", True
    yield "source type GIF", gif_with_xmp(typed), "source_type", "made by AI", True
    yield "source type JXL", jxl(packet=typed), "source_type", "made by AI", True
    yield "source type PNG", png({"XML:com.adobe.xmp": typed.decode()}, kind="iTXt"), "source_type", "made by AI", True
    yield (
        "source type PNG compressed",
        png({"XML:com.adobe.xmp": typed.decode()}, kind="iTXt-z"),
        "source_type",
        "made by AI",
        True,
    )
    yield "source type extended", extended_xmp(xmp(), typed), "source_type", "made by AI", True
    resource = xmp(Iptc4xmpExt_DigitalSourceType="").replace(b' Iptc4xmpExt:DigitalSourceType=""', b"").replace(
        b"</rdf:Description>", f'<Iptc4xmpExt:DigitalSourceType rdf:resource="{SOURCE}compositeWithTrainedAlgorithmicMedia"/></rdf:Description>'.encode()
    )  # fmt: skip
    yield "source type resource", saved("JPEG", xmp=resource), "source_type", "composite with AI-made parts", True
    yield (
        "source type capture",
        saved("JPEG", xmp=xmp(Iptc4xmpExt_DigitalSourceType=SOURCE + "digitalCapture")),
        "source_type",
        "digital capture",
        False,
    )
    yield "camera", saved("JPEG", exif=exif({0x010F: "Canon", 0x0110: "Canon EOS 5D"})), "camera", "Canon EOS 5D", False
    yield (
        "camera jxl",
        jxl(exif_data=exif({0x010F: "NIKON CORPORATION", 0x0110: "NIKON D90"})),
        "camera",
        "NIKON D90",
        False,
    )
    yield "camera tiff", saved("TIFF", tiffinfo={271: "Acme", 272: "Box 1"}), "camera", "Acme Box 1", False
    yield "camera png", saved("PNG", exif=exif({0x0110: "Box 1"})), "camera", "Box 1", False
    yield "software", png({"Software": "GIMP\n2.10"}), "software", "GIMP 2.10", False
    yield "hf job", png({"hf-job-id": UUID}), "software", f"Hugging Face job {UUID}", False
    yield "jpeg comment", jpeg_with(0xFE, b"generated with Stable Diffusion"), "generator", "Stable Diffusion", True
    yield "gif comment", saved("GIF", comment=b"Made with AI"), "generator", "AI, unnamed", True
    yield (
        "remote manifest",
        saved("JPEG", xmp=xmp(dcterms_provenance="https://example.com/m.c2pa")),
        "c2pa",
        "manifest kept elsewhere, not fetched: https://example.com/m.c2pa",
        False,
    )

"""``aigiscan encoders``: the list is true, any name is shown, and fetching ends in a file or one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cli_calls import call

from aigiscan.detector.published import published_cards
from aigiscan.encoders.catalogue import CATALOGUE, Entry, entry_of, facts_of

BUILT = [
    "open_clip:ViT-B-32-quickgelu/openai",
    "open_clip:PE-Core-T-16-384/meta",
    "timm:vit_small_patch16_dinov3.lvd1689m",
]


@pytest.mark.parametrize("name", BUILT)
def test_the_list_says_what_the_libraries_build(name: str) -> None:
    found, listed = facts_of(name).entry, entry_of(name)
    assert listed is not None
    rounded = replace(found, gflops=round(found.gflops, 1), megabytes=round(found.megabytes))
    assert rounded == listed


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_every_name_and_place_is_the_libraries_own(entry: Entry) -> None:
    from aigiscan.encoders import create_encoder

    encoder = create_encoder(entry.name)
    remote = encoder.remote()
    assert encoder.name == entry.name and remote is not None and remote.repo == entry.repo


def test_gflops_are_those_of_the_textbook() -> None:
    """ViT-B/32 at 224: 50 tokens of 768 in 12 layers, and the patches."""
    d, t, layers = 768, 50, 12
    expected = layers * (2 * 12 * d * d * t + 4 * t * t * d) + 2 * (t - 1) * 3 * 32 * 32 * d + 2 * d * 512
    assert facts_of(BUILT[0]).entry.gflops == pytest.approx(expected / 1e9, rel=0.02)


def test_every_published_head_has_its_encoder_listed() -> None:
    for name, card in published_cards().items():
        assert entry_of(card.encoder["name"]) is not None, name


def test_list_and_show() -> None:
    lines = call("encoders", "list").stdout.splitlines()
    assert len(lines) == len(CATALOGUE) + 1 and lines[0].split("\t")[0] == "name"
    text = call("encoders", "show", "ViT-B-32/openai").stdout
    assert "licence: MIT" in text and "heads: yes" in text and "text tower: yes" in text and "151.3 million" in text
    assert "nothing to download" in call("encoders", "show", "spam").stdout
    call("encoders", "show", "ViT-X/openai", refused="no model")
    call("encoders", "show", "lite+spam", refused="each alone")


def test_fetch_says_what_and_how_much_or_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    told = call("encoders", "fetch", "ViT-B-32/openai+spam", "--dry-run").stdout
    assert "vit_base_patch32_clip_224.openai/resolve/main/open_clip_model.safetensors, about 605" in told
    assert "spam: nothing to download" in told and not (tmp_path / "hub").exists()
    call("encoders", "fetch", "ViT-B-32/openai", refused="HF_HUB_OFFLINE is set")
    snapshot = tmp_path / "hub" / "models--timm--vit_base_patch32_clip_224.openai" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (snapshot / "open_clip_model.safetensors").touch()
    assert f"here: {snapshot}" in call("encoders", "fetch", "ViT-B-32/openai").stdout

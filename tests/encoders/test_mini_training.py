"""The training of `mini`: captions are true, batches repeat, training on patches equals the model, a run resumes."""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

FOLDER = Path(__file__).parents[2] / "models" / "mini"


@pytest.fixture(scope="module")
def code():
    """The training's modules; they lie beside the weights, outside the package."""
    sys.path.insert(0, str(FOLDER))
    try:
        names = (
            "mini_captions",
            "mini_curriculum",
            "mini_treatments",
            "mini_photos",
            "mini_teacher",
            "mini_data",
            "mini_model",
            "mini_evaluate",
        )
        modules = {name: importlib.import_module(name) for name in (*names, "train_mini")}
    finally:
        sys.path.remove(str(FOLDER))
    return argparse.Namespace(**modules)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder like ../shared/data: three photo sources, three generators, eight pictures each."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    sources = [
        ("wild/cam_a", 0),
        ("wild/cam_b", 0),
        ("imagenet", 0),
        ("wild/gan_a", 1),
        ("wild/dif_a", 1),
        ("dif_b", 1),
    ]
    for source, label in sources:
        kind = folder / source / ("1_fake" if label else "0_real")
        kind.mkdir(parents=True)
        for i in range(8):
            array = np.asarray(Image.fromarray(rng.integers(0, 256, (20, 25, 3), dtype=np.uint8)).resize((250, 200)))
            path = kind / f"{i}.png"
            Image.fromarray(array).save(path)
            name = Path(source).name
            rows.append(
                {
                    "path": str(path.relative_to(folder)),
                    "label": "fake" if label else "real",
                    "family": "gan" if name == "gan_a" else "diffusion" if label else "",
                    "group": "n02110341_dalmatian" if source == "imagenet" else "",
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                }
            )
    with open(folder / "manifest.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def cache(code, data, tmp_path_factory):
    return code.mini_photos.open_cache(data, tmp_path_factory.mktemp("cache"))


def test_cache_keeps_the_pixels(cache, data):
    photo = cache.photos[5]
    assert np.array_equal(cache.picture(photo), np.asarray(Image.open(data / photo.path)))


def test_examples_are_never_trained_on(code, cache):
    held = code.mini_photos.held_out_sources(cache.photos, 7)
    assert set(code.mini_photos.EXAMPLE_SOURCES) <= held
    assert "imagenet" not in held
    assert held == code.mini_photos.held_out_sources(cache.photos, 7)


def test_truth_of_captions(code):
    # states: blurred and dark; sharp and unknown darkness. captions: blurred; not blurred; blurred and dark; dark
    states = np.array([[1, 1], [-1, 0]])
    literals = np.array([[1, 0], [-1, 0], [1, 1], [0, 1]])
    fits, known = code.mini_captions.truth(states, literals)
    assert fits.tolist() == [[True, False, True, True], [False, True, False, False]]
    # "blurred and dark" is known to be false of the sharp one; "dark" is not known
    assert known.tolist() == [[True, True, True, True], [True, True, True, False]]


def test_captions_say_what_their_literals_mean(code):
    captions = code.mini_captions.CaptionSampler(["gan_a"])
    states = np.ones((4, len(captions.names)), np.int8)
    states[2:] = -1
    texts, literals = captions.sample(states, 200, np.random.default_rng(0))
    vocabulary = code.mini_model.Vocabulary(captions.vocabulary())
    assert vocabulary(texts).shape[0] == 200  # every word is in the vocabulary, or this raises
    for text, row in zip(texts, literals, strict=True):
        for index in np.flatnonzero(row):
            words = (captions.positive if row[index] > 0 else captions.negative)[index]
            assert any(phrase in text for phrase in (*words.adjectives, *words.suffixes)), (text, captions.names[index])


def test_twins_differ_in_one_treatment_and_its_state(code, cache):
    treat = code.mini_treatments
    recipe = treat.Recipe({"noise": (0.1, False), "jpeg": 10})
    work = treat.Treatments(0)
    canvas = np.ascontiguousarray(cache.picture(cache.photos[0])[:120, :120])
    args = (3, (0, 0), None)
    assert np.array_equal(work.apply(canvas, recipe, *args), work.apply(canvas, recipe, *args))
    quiet = work.apply(canvas, recipe.without("noise"), *args)
    assert np.array_equal(quiet, treat._jpeg(canvas, 10))


@pytest.mark.parametrize("name", ["blur", "motion", "upscale", "grey", "dark", "faded", "vignette", "scanlines"])
def test_every_treatment_changes_the_picture(code, cache, name):
    treat = code.mini_treatments
    rng = np.random.default_rng(0)
    canvas = np.ascontiguousarray(cache.picture(cache.photos[0])[:120, :120])
    done = treat.Treatments(0).apply(
        canvas,
        treat.Recipe({name: treat.draw_parameters(name, rng, code.mini_curriculum.stage_of(0))}),
        0,
        (0, 0),
        None,
    )
    assert done.shape == canvas.shape and done.dtype == np.uint8
    assert np.abs(done.astype(int) - canvas).mean() > 1


def test_vignette_darkens_the_corners_of_the_model_input(code):
    whole = code.mini_treatments.vignette(224, (0, 0), 0.5)
    piece = code.mini_treatments.vignette(112, (112, 112), 0.5)
    assert whole[0, 0] < 0.5 < 0.95 < whole[112, 112]
    np.testing.assert_allclose(piece, whole[112:, 112:], rtol=1e-6)


def make_stream(code, cache, **options):
    captions = code.mini_captions.CaptionSampler(["gan_a", "dif_a", "dif_b"])
    sizes = {"pairs": 3, "singles": 2, "captions_per_batch": 16, "tokens": 12}
    return code.mini_data.Stream(cache, cache.photos, captions, 1, **{**sizes, **options})


def test_batches_repeat_by_number(code, cache):
    first, again = make_stream(code, cache).batch(4), make_stream(code, cache).batch(4)
    assert first["patches"].shape == (8, 12, 588) and first["fits"].shape == (8, 16)
    for key in first:
        assert np.array_equal(first[key], again[key]), key
    assert not np.array_equal(first["patches"], make_stream(code, cache).batch(5)["patches"])


def test_leading_components_find_a_planted_direction(code):
    rng = np.random.default_rng(0)
    planted = rng.standard_normal(500)
    features = np.outer(planted, rng.uniform(0.5, 2, 20)) + 0.3 * rng.standard_normal((500, 20))
    features[:, 3] = 7.0  # a constant column is left out
    found = code.mini_teacher.leading_components(features.astype(np.float32), 4)
    assert found.shape == (500, 4)
    np.testing.assert_allclose(found.std(0), 1, rtol=1e-4)
    assert abs(np.corrcoef(found[:, 0], planted)[0, 1]) > 0.98
    np.testing.assert_allclose(found.T @ found / 500, np.eye(4), atol=1e-3)


def test_frames_come_with_what_the_teachers_saw(code, cache, tmp_path):
    photos = cache.photos[::8]
    pool = code.mini_teacher.open_pool(cache, photos, tmp_path, 3)
    assert pool.frames.shape == (30, 224, 224, 3) and len(pool.targets) == 30
    again = code.mini_teacher.open_pool(cache, photos, tmp_path, 3)  # from the files
    np.testing.assert_array_equal(pool.targets, again.targets)
    from aigiscan.images.equalize import Equalization

    picture = Image.fromarray(cache.picture(photos[2]))
    np.testing.assert_array_equal(pool.frames[10], Equalization.parse("square:224,jpeg:75").apply(picture))

    captions = code.mini_captions.CaptionSampler(["gan_a", "dif_a", "dif_b"])
    sizes = {"pairs": 2, "singles": 1, "tokens": 6, "frames": 4, "frame_tokens": 30, "captions_per_batch": 16}
    batch = code.mini_data.Stream(cache, photos, captions, 1, pool=pool, **sizes).batch(0)
    assert batch["patches"].shape == (5, 6, 588) and batch["frame_patches"].shape == (4, 30, 588)
    assert batch["fits"].shape == (9, 16) and batch["targets"].shape == (4, pool.targets.shape[1])
    for patches, places, target in zip(batch["frame_patches"], batch["frame_positions"], batch["targets"], strict=True):
        row = int(np.flatnonzero((pool.targets == target).all(1))[0])
        grid = pool.frames[row].reshape(16, 14, 16, 14, 3).transpose(0, 2, 4, 1, 3).reshape(256, 588)
        np.testing.assert_array_equal(patches, grid[places])


def test_distillation_is_one_at_first_and_falls(code):
    torch.manual_seed(0)
    images, targets = torch.randn(64, 16), torch.randn(64, 3)
    head = torch.nn.Linear(16, 3)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    loss = code.train_mini.distillation_loss(images, head, targets)
    assert abs(loss.item() - float((targets**2).mean())) < 1e-6
    exact = torch.linalg.lstsq(torch.nn.functional.normalize(images, dim=-1) * 4, targets).solution
    head.weight.data = exact.T.contiguous()
    assert code.train_mini.distillation_loss(images, head, targets).item() < loss.item()


def test_training_on_patches_equals_the_model(code, cache):
    captions = code.mini_captions.CaptionSampler([])
    vocabulary = code.mini_model.Vocabulary(captions.vocabulary())
    model = code.mini_model.build(vocabulary, 0).eval()
    code.mini_model.initialise(model, cache, cache.photos, 0)
    crop = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    patches = crop.reshape(1, 16, 14, 16, 14, 3).transpose(0, 1, 3, 5, 2, 4).reshape(1, 256, 588)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (code.mini_model.MEAN, code.mini_model.STD))
    pixels = (torch.from_numpy(crop).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.no_grad():
        ours = code.mini_model.image_features(model, torch.from_numpy(patches), torch.arange(256)[None])
        theirs = model.encode_image(pixels)
        tokens = vocabulary(["a blurry photo", "a photo with strong grain and in colour"])
        full = torch.nn.functional.pad(tokens, (0, code.mini_model.CONTEXT - tokens.shape[1]))
        texts, their_texts = code.mini_model.text_features(model, tokens), model.encode_text(full)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(texts, their_texts, rtol=1e-4, atol=1e-4)


def test_patch_embedding_starts_whitened(code, cache):
    vocabulary = code.mini_model.Vocabulary(["photo"])
    model = code.mini_model.build(vocabulary, 0)
    code.mini_model.initialise(model, cache, cache.photos, 0)
    basis = code.mini_model.dct_basis().reshape(196, 196)
    np.testing.assert_allclose(basis @ basis.T, np.eye(196), atol=1e-9)
    patches = code.mini_model._sample_patches(cache, [p for p in cache.photos if p.label == 0], 5, 3000)
    out = torch.from_numpy(patches).flatten(1) @ model.visual.conv1.weight.detach().flatten(1).T
    assert ((out[:, :100].std(0) > 0.7) & (out[:, :100].std(0) < 1.4)).all()


def run(code, data, cache_folder, out, steps, frames=0):
    paths = ["--data", str(data), "--out", str(out), "--cache", str(cache_folder)]
    sizes = ["--pairs", "2", "--singles", "2", "--tokens", "6", "--frames", str(frames)]
    limits = ["--samples", "1000000", "--minutes", "1000"]
    arguments = code.train_mini.options([*paths, *sizes, *limits, "--precision", "fp32", "--workers", "0"])
    trainer = code.train_mini.Trainer(arguments)
    losses = [trainer.train_step(batch) for batch, _ in zip(trainer.batches(), range(steps), strict=False)]
    trainer.save()
    return trainer, losses


def test_resumed_run_equals_an_uninterrupted_one(code, data, tmp_path):
    whole, losses = run(code, data, tmp_path, tmp_path / "whole", 3)
    run(code, data, tmp_path, tmp_path / "parts", 2)
    resumed, _ = run(code, data, tmp_path, tmp_path / "parts", 1)
    assert all(np.isfinite(list(loss.values())).all() for loss in losses)
    assert (resumed.step, resumed.samples) == (whole.step, whole.samples) == (3, 18)
    for name, value in whole.master.items():
        torch.testing.assert_close(resumed.master[name], value, rtol=1e-5, atol=1e-6)


def test_export_is_a_model_of_open_clip(code, data, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    from aigiscan.encoders import EncoderOptions, create_encoder

    def pool(cache, photos, folder, seed):
        rng = np.random.default_rng(seed)
        count = len(photos) * code.mini_teacher.VARIANTS
        frames = rng.integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)
        targets = rng.standard_normal((count, 5)).astype(np.float32)
        return code.mini_teacher.Pool(frames, np.full(count, 75), np.ones(count), targets)

    monkeypatch.setattr(code.train_mini, "open_pool", pool)
    trainer, losses = run(code, data, tmp_path, tmp_path / "run", 2, frames=2)
    assert set(losses[0]) == {"captions", "distillation"} and trainer.samples == 2 * (6 + 2)
    head = code.mini_model.TEACHER_HEAD
    assert trainer.master[f"{head}.weight"].shape == (5, 256)
    assert not any(name.startswith(head) for name in load_file(tmp_path / "run" / "export" / "weights.safetensors"))
    encoder = create_encoder(f"open_clip:local-dir:{tmp_path / 'run' / 'export'}", EncoderOptions(precision="fp32"))
    x = encoder.encode([encoder.prepare(Image.new("RGB", (300, 260), (200, 30, 30)))])["embedding"]
    text = encoder.encode_text(["blurry", "zeppelin", "quantum"])
    assert x.shape == (1, 256) and np.isfinite(x).all()
    np.testing.assert_allclose(text[1], text[2], atol=1e-6)  # rows of unused tokens are zero
    assert not np.allclose(text[0], text[1], atol=1e-4)

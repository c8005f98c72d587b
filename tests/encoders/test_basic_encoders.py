"""lite, spam, concatenation, names and fingerprints."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from aigiscan.encoders import (
    EncoderOptions,
    compare_fingerprints,
    create_encoder,
    encoder_from_fingerprint,
)
from aigiscan.encoders.pixels import central_crop, limit_aspect, resize_and_crop
from aigiscan.encoders.spam import DIMENSION, LEVELS, adjacency, smoothness
from aigiscan.errors import EncoderError


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def slow_cooccurrence(plane: np.ndarray, directions: list[tuple[int, int]], order: int) -> np.ndarray:
    """The definition, pixel by pixel."""
    total = np.zeros((LEVELS,) * order)
    height, width = plane.shape
    for dy, dx in directions:
        counts = np.zeros((LEVELS,) * order)
        for y in range(height):
            for x in range(width):
                places = [(y + k * dy, x + k * dx) for k in range(order + 1)]
                if all(0 <= a < height and 0 <= b < width for a, b in places):
                    values = [int(plane[p]) for p in places]
                    steps = [min(3, max(-3, values[k] - values[k + 1])) + 3 for k in range(order)]
                    counts[tuple(steps)] += 1
        total += counts / counts.sum()
    return (total / len(directions)).ravel()


@pytest.mark.parametrize("order", [2, 3])
def test_spam_equals_its_definition(order: int) -> None:
    plane = np.random.default_rng(order).integers(100, 106, (9, 11)).astype(np.int16)
    straight = slow_cooccurrence(plane, [(0, 1), (0, -1), (1, 0), (-1, 0)], order)
    diagonal = slow_cooccurrence(plane, [(1, 1), (-1, -1), (1, -1), (-1, 1)], order)
    np.testing.assert_allclose(adjacency(plane, order), np.concatenate([straight, diagonal]), atol=1e-12)


def test_spam_of_a_ramp_is_where_the_docstring_says() -> None:
    ramp = np.tile(np.arange(0, 128, 2, dtype=np.uint8), (40, 1))  # 2 more per column, equal along rows
    encoder = create_encoder("spam")
    vector = encoder.encode([encoder.prepare(Image.fromarray(ramp).convert("RGB"))])["embedding"][0]
    rightwards = 49 * (-2 + 3) + 7 * (-2 + 3) + (-2 + 3)
    leftwards = 49 * (2 + 3) + 7 * (2 + 3) + (2 + 3)
    flat = 49 * 3 + 7 * 3 + 3
    assert vector[rightwards] ** 2 == pytest.approx(0.25)
    assert vector[leftwards] ** 2 == pytest.approx(0.25)
    assert vector[flat] ** 2 == pytest.approx(0.5)
    assert vector[686 + 7 * 3 + 3] == pytest.approx(1.0)  # no chroma, no chroma differences
    assert vector.shape == (DIMENSION,) == (882,)


def test_greys_have_no_chroma_and_keep_their_luma() -> None:
    from aigiscan.encoders.spam import ycc

    greys = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
    luma, blue, red = ycc(greys)
    np.testing.assert_array_equal(luma[0], np.arange(256))
    assert set(blue[0]) == set(red[0]) == {128}
    corners = np.array([[[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)]], np.uint8)
    assert all(plane.min() >= 0 and plane.max() <= 255 for plane in ycc(corners))


def test_lite_columns_are_stage_means_and_deviations() -> None:
    encoder = create_encoder("lite", EncoderOptions(device="cpu"))
    flat, rough = Image.new("RGB", (300, 240), (90, 120, 40)), noise(300, 240)
    values = encoder.encode([encoder.prepare(flat), encoder.prepare(rough)])["embedding"]
    assert values.shape == (2, 2304) and values.dtype == np.float32
    assert (values[:, 16:32] >= 0).all()  # deviations of the first stage
    assert values[1, 16:32].sum() > 3 * values[0, 16:32].sum()


def test_lite_weights_classify_as_imagenet_does() -> None:
    """The conversion kept the order of tensors: scikit-learn's photograph of a flower is no temple, and back."""
    import torch
    from sklearn.datasets import load_sample_image

    from aigiscan.encoders import lite

    model = lite.load_network(torch.device("cpu"), "fp32")
    encoder = create_encoder("lite")
    pixels = [encoder.prepare(Image.fromarray(load_sample_image(n))) for n in ("flower.jpg", "china.jpg")]
    x = (torch.from_numpy(np.stack(pixels)).float() / 255 - lite.MEAN) / lite.STD
    best = model(x).argmax(1).tolist()
    assert best == [985, 698]


def test_folding_changes_no_feature() -> None:
    import timm
    import torch

    from aigiscan.encoders import lite
    from aigiscan.encoders.weights import load_weights

    plain = timm.create_model("efficientnet_lite0", pretrained=False, bn_eps=lite.BN_EPSILON).eval()
    plain.load_state_dict(
        {
            k: v.float() if v.is_floating_point() else v
            for k, v in load_weights(lite.shipped_file("weights.safetensors")).items()
        }
    )
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        folded = lite.statistics(lite.load_network(torch.device("cpu"), "fp32"), x)
        torch.testing.assert_close(folded, lite.statistics(plain, x), atol=1e-4, rtol=1e-4)


def test_smoothness_sees_blur_and_enlarging() -> None:
    from PIL import ImageFilter

    encoder = create_encoder("spam")
    sharp = Image.fromarray(np.random.default_rng(3).normal(128, 40, (200, 200)).clip(0, 255).astype(np.uint8))
    pictures = [sharp, sharp.filter(ImageFilter.GaussianBlur(2)), sharp.resize((400, 400)), Image.new("L", (64, 64), 9)]
    rows = encoder.encode([encoder.prepare(one.convert("RGB")) for one in pictures])["embedding"]
    found = smoothness(rows)
    assert found[0] < -0.25  # independent noise: neighbouring differences share a pixel
    assert min(found[1:3]) > 0.2 and found[3] == 1.0
    first = sharp_differences(np.asarray(sharp, np.int16))
    np.testing.assert_allclose(found[0], first, atol=1e-5)


def sharp_differences(plane: np.ndarray) -> float:
    """The definition: both directions and their reversals, differences truncated to ±3."""
    top = bottom = 0.0
    for lines in (plane, plane.T):
        steps = np.clip(lines[:, :-1] - lines[:, 1:], -3, 3).astype(float)
        triples = [steps[:, k : steps.shape[1] - 2 + k] for k in range(3)]
        ends = (triples[0] ** 2).mean() + (triples[2] ** 2).mean()  # a triple backwards begins with its last
        top += ((triples[0] * triples[1]).mean() + (triples[2] * triples[1]).mean()) / 4
        bottom += ends / 4
    return top / bottom


def test_native_lite_is_lite_where_nothing_is_reduced() -> None:
    lite, native = (create_encoder(name, EncoderOptions(device="cpu")) for name in ("lite", "lite:native"))
    picture = noise(224, 224)
    whole = lite.encode([lite.prepare(picture)])["embedding"]
    last = native.encode([native.prepare(picture)])["embedding"]
    np.testing.assert_allclose(last, whole[:, 2 * (16 + 24 + 40) :], rtol=1e-4, atol=1e-5)
    larger = noise(600, 400)
    assert native.prepare(larger).shape == (3, 400, 512)  # cut, never reduced
    assert "lite:native:0" in native.columns() and "lite:0" in lite.columns()


def test_native_lite_takes_shapes_as_they_come() -> None:
    native = create_encoder("lite:native", EncoderOptions(device="cpu"))
    pictures = [noise(*size) for size in ((96, 64), (64, 96), (300, 200), (96, 64), (40, 40), (64, 96))]
    inputs = [native.prepare(picture) for picture in pictures]
    together = native.encode(inputs)["embedding"]
    alone = np.concatenate([native.encode([one])["embedding"] for one in inputs])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_concatenation_is_its_parts_side_by_side() -> None:
    picture = noise(60, 50)
    both, lite, spam = (create_encoder(n) for n in ("lite+spam", "lite", "spam"))
    joined = both.encode([both.prepare(picture)])["embedding"]
    alone = [e.encode([e.prepare(picture)])["embedding"] for e in (lite, spam)]
    np.testing.assert_array_equal(joined, np.concatenate(alone, axis=1))
    assert both.columns() == lite.columns() + spam.columns()
    assert both.columns()[2304] == "spam:0"


@pytest.mark.parametrize(
    ("name", "word"),
    [("nosuch", "nosuch"), ("", "empty"), ("lite+", "empty"), ("lite+lite", "twice"), ("spam:3", "colon")],
)
def test_wrong_names_are_one_line_that_names_them(name: str, word: str) -> None:
    with pytest.raises(EncoderError, match=word) as caught:
        create_encoder(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [EncoderOptions(heads=True), EncoderOptions(projection="hidden"), EncoderOptions(precision="fp8")],
)
def test_options_that_an_encoder_does_not_have_are_refused(options: EncoderOptions) -> None:
    with pytest.raises(EncoderError):
        create_encoder("lite", options)


def test_fingerprints_tell_what_differs() -> None:
    one = create_encoder("lite+spam").fingerprint()
    assert compare_fingerprints(one, create_encoder("lite+spam").fingerprint()) == []
    other = create_encoder("lite+spam", EncoderOptions(precision="bf16")).fingerprint()
    assert compare_fingerprints(one, other) == ["parts: lite: precision: fp32 v. bf16"]
    assert compare_fingerprints(one, create_encoder("spam").fingerprint())[0].startswith("encoder: lite+spam v. spam")


def test_a_moved_weights_file_is_no_difference() -> None:
    here = {"name": "open_clip:ViT-B-32//home/a/w.safetensors", "weights": "ab" * 32, "precision": "fp32"}
    assert compare_fingerprints(here, {**here, "name": "open_clip:ViT-B-32//mnt/w.safetensors"}) == []
    assert compare_fingerprints(here, {**here, "weights": "cd" * 32}) != []
    assert compare_fingerprints(here, {**here, "name": "open_clip:ViT-B-16//home/a/w.safetensors"}) != []


def test_an_encoder_comes_back_from_its_fingerprint() -> None:
    made = create_encoder("lite+spam", EncoderOptions(precision="bf16", normalize=True))
    again = encoder_from_fingerprint(made.fingerprint(), device="cpu")
    assert again.fingerprint() == made.fingerprint()
    with pytest.raises(EncoderError, match="heads"):
        encoder_from_fingerprint(made.fingerprint(), heads=True)


def test_a_missing_gpu_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    encoder = create_encoder("lite", EncoderOptions(device="cuda"))
    with pytest.raises(EncoderError, match="device cuda was asked for"):
        encoder.encode([encoder.prepare(noise(8, 8))])


def test_extreme_pictures_are_cut_before_they_are_resized() -> None:
    assert limit_aspect(Image.new("RGB", (30000, 2))).size == (16, 2)
    assert limit_aspect(Image.new("RGB", (2, 30000))).size == (2, 16)
    assert limit_aspect(Image.new("RGB", (100, 90))).size == (100, 90)
    assert resize_and_crop(Image.new("RGB", (30000, 2)), 32, Image.Resampling.BICUBIC).size == (32, 32)


def test_resize_and_crop_is_what_torchvision_does() -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    theirs = Compose([Resize(64, interpolation=InterpolationMode.BICUBIC), CenterCrop(64)])
    for width, height in [(200, 100), (101, 257), (64, 64), (65, 64), (40, 31), (1, 1), (129, 90)]:
        picture = noise(width, height)
        ours = resize_and_crop(picture, 64, Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs(picture)))


def test_native_crop_keeps_the_jpeg_grid() -> None:
    grid = np.zeros((700, 901, 3), np.uint8)
    grid[::8, ::8] = 255
    cropped = np.asarray(central_crop(Image.fromarray(grid), 512))
    assert cropped.shape == (512, 512, 3)
    assert cropped[0, 0, 0] == 255 and cropped[8, 8, 0] == 255


def test_trained_lite_is_native_lite_and_the_logits_of_its_networks() -> None:
    import torch
    from torch.nn import functional as F

    from aigiscan.encoders import lite

    native, trained = (create_encoder(name, EncoderOptions(device="cpu")) for name in ("lite:native", "lite:trained"))
    picture = noise(160, 96)
    found = trained.encode([trained.prepare(picture)])["embedding"][0]
    np.testing.assert_allclose(found[:2144], native.encode([native.prepare(picture)])["embedding"][0], rtol=1e-6)
    # the same numbers from the unfolded networks, on maps taken by hand
    model = lite.load_network(torch.device("cpu"), "fp32")
    pixels = torch.from_numpy(trained.prepare(picture))[None].float()
    with torch.inference_mode():
        x = model.blocks[0](model.bn1(model.conv_stem((pixels - 127) / 128)))
        fine = model.blocks[1](x)
        coarse = model.blocks[2](fine)
        assert coarse.shape[2:] == (12, 20)
        # four neighbours of a channel side by side
        blocks = fine.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 1, 4, 5, 2, 3).reshape(1, 96, 12, 20)
        state = lite.load_weights(lite.shipped_file("trained.safetensors"))

        def conv(key: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
            kernel, norm = state[f"{key}.conv.weight"].float(), {n: state[f"{key}.bn.{n}"] for n in BATCH_NORM}
            x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[2] // 2)
            return F.batch_norm(x, norm["running_mean"], norm["running_var"], norm["weight"], norm["bias"])

        for i, logit in enumerate(found[2144:]):
            mean, var = (state[f"{i}.normalise.running_{name}"] for name in ("mean", "var"))
            x = F.batch_norm(torch.cat([blocks, coarse], 1), mean, var)
            x = conv(f"{i}.down", conv(f"{i}.entry", x).relu(), 2).relu()
            for k in range(3):
                x = (x + conv(f"{i}.blocks.{k}.second", conv(f"{i}.blocks.{k}.first", x).relu())).relu()
            expected = x.mean((2, 3)) @ state[f"{i}.logit.weight"].float().T + state[f"{i}.logit.bias"]
            np.testing.assert_allclose(logit, float(expected), rtol=1e-3, atol=1e-3)


BATCH_NORM = ("running_mean", "running_var", "weight", "bias")


def test_trained_lite_names_its_logits_and_takes_any_shape() -> None:
    trained = create_encoder("lite:trained", EncoderOptions(device="cpu"))
    assert trained.columns()[2143:2145] == ["lite:trained:2143", "lite:trained:logit:0"]
    assert len(trained.columns()) == 2149 == trained.channels()["embedding"].shape[0]
    pictures = [noise(*size) for size in ((97, 61), (1, 1), (33, 200), (97, 61))]
    inputs = [trained.prepare(picture) for picture in pictures]
    together = trained.encode(inputs)["embedding"]
    assert np.isfinite(together).all()
    alone = np.concatenate([trained.encode([one])["embedding"] for one in inputs])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)

"""open_clip encoders: the four traps, options, precision, batches."""

from __future__ import annotations

import json
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from tiny_clip import pictures, random_model, save_model, tiny_config

from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.encoders.clip_source import find_source
from aigiscan.errors import EncoderError

CPU32 = EncoderOptions(device="cpu", precision="fp32")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGISCAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def fresh_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    from aigiscan.encoders import notices

    monkeypatch.setattr(notices, "_said", set())


def stock_embedding(model, encoder, images) -> np.ndarray:
    """open_clip's own transform and forward."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform = image_transform_v2(PreprocessCfg(**encoder.source.preprocess), is_train=False)
    with torch.inference_mode():
        return model.encode_image(torch.stack([transform(i) for i in images])).numpy()


@pytest.mark.parametrize(
    "vision",
    [
        {},
        {"no_ln_pre": True},
        {"pool_type": "avg", "final_ln_after_pool": True},
        {"pool_type": "avg"},
        {"ls_init_value": 0.5},
        {"pos_embed_type": "sin_cos_2d"},
        {"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 4},
    ],
)
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_embedding_is_that_of_the_stock_model(tmp_path: Path, vision: dict, quick_gelu: bool) -> None:
    name, model = save_model(tmp_path, tiny_config(quick_gelu, **vision))
    encoder = create_encoder(name, CPU32)
    images = pictures()
    ours = encoder.encode([encoder.prepare(i) for i in images])["embedding"]
    theirs = stock_embedding(model, encoder, images)
    assert ours.shape == theirs.shape == (3, *encoder.channels()["embedding"].shape)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


# (a) activation


def test_openai_weights_get_the_activation_they_were_trained_with(
    fresh_notices: None, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = create_encoder("ViT-L-14/openai")
    assert encoder.name == "open_clip:ViT-L-14-quickgelu/openai"
    assert encoder.source.config["quick_gelu"] is True
    assert "ViT-L-14/openai means ViT-L-14-quickgelu/openai" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("ViT-B-16-quickgelu/laion2b_s34b_b88k", "ViT-B-16/laion2b_s34b_b88k"),
        ("ViT-B-16/laion2b-s34b-b88k", "ViT-B-16/laion2b_s34b_b88k"),
        ("ViT-B-32/laion400m_e32", "ViT-B-32-quickgelu/laion400m_e32"),
        ("ViT-H-14/dfn5b", "ViT-H-14-quickgelu/dfn5b"),
    ],
)
def test_names_are_resolved_to_what_the_weights_need(asked: str, meant: str) -> None:
    assert create_encoder(asked).name == f"open_clip:{meant}"
    assert create_encoder(create_encoder(asked).name).name == f"open_clip:{meant}"


def test_every_tag_that_says_quickgelu_is_built_with_it() -> None:
    import open_clip

    wanted = [(m, t) for m, t in open_clip.list_pretrained() if open_clip.get_pretrained_cfg(m, t).get("quick_gelu")]
    assert len(wanted) > 20
    for model, tag in wanted:
        assert find_source(f"{model}/{tag}").config["quick_gelu"] is True, (model, tag)


def test_the_activation_changes_the_embedding(tmp_path: Path) -> None:
    """Otherwise the tests above would prove nothing."""
    one, _ = save_model(tmp_path / "a", tiny_config(False))
    two, _ = save_model(tmp_path / "b", tiny_config(True))
    a, b = (create_encoder(n, CPU32) for n in (one, two))
    inputs = [a.prepare(i) for i in pictures()]
    assert np.abs(a.encode(inputs)["embedding"] - b.encode(inputs)["embedding"]).max() > 1e-3
    assert a.fingerprint()["weights"] == b.fingerprint()["weights"]
    assert a.fingerprint()["config"] != b.fingerprint()["config"]


# (b) preprocessing


@pytest.mark.parametrize(
    ("name", "mean", "mode", "size"),
    [
        ("ViT-L-14/openai", 0.48145466, "shortest", 224),
        ("ViT-L-14-336/openai", 0.48145466, "shortest", 336),
        ("ViT-L-14/laion2b_s32b_b82k", 0.5, "shortest", 224),
        ("ViT-B-16-SigLIP-384/webli", 0.5, "squash", 384),
    ],
)
def test_preprocessing_comes_from_the_tag(name: str, mean: float, mode: str, size: int) -> None:
    preprocess = find_source(name).preprocess
    assert preprocess["mean"][0] == pytest.approx(mean)
    assert (preprocess["resize_mode"], preprocess["size"]) == (mode, size)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(50, 40), (40, 61), (32, 32), (7, 5), (1, 1), (200, 31)])
def test_pixels_are_those_of_open_clips_own_transform(
    tmp_path: Path, mode: str, interpolation: str, size: tuple[int, int]
) -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    preprocess = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": interpolation, "resize_mode": mode}
    config = tiny_config()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    (tmp_path / "weights.safetensors").write_bytes(b"")  # nothing is loaded here
    encoder = create_encoder(f"open_clip:local-dir:{tmp_path}", CPU32)
    theirs = image_transform_v2(PreprocessCfg(size=32, **preprocess), is_train=False)(pictures(1, size)[0])
    raw = encoder.prepare(pictures(1, size)[0])
    assert raw.dtype == np.uint8 and raw.shape == (3, 32, 32)
    torch.testing.assert_close(encoder.pixels([raw])[0], theirs, rtol=1e-6, atol=1e-6)


def test_extreme_pictures_take_no_memory(tmp_path: Path) -> None:
    name, _ = save_model(tmp_path, tiny_config())
    encoder = create_encoder(name, CPU32)
    assert encoder.prepare(Image.new("RGB", (60000, 1))).shape == (3, 32, 32)
    assert encoder.prepare(Image.new("RGB", (1, 60000))).shape == (3, 32, 32)


# (c) fingerprint


def test_fingerprint_follows_the_weights_and_the_options(tmp_path: Path) -> None:
    one, _ = save_model(tmp_path / "a", tiny_config(), seed=0)
    two, _ = save_model(tmp_path / "b", tiny_config(), seed=1)
    base = create_encoder(one, CPU32).fingerprint()
    assert json.loads(json.dumps(base)) == base
    assert create_encoder(two, CPU32).fingerprint()["weights"] != base["weights"]
    for change in ({"precision": "bf16"}, {"pooling": "mean"}, {"projection": "hidden"}, {"normalize": True}):
        assert create_encoder(one, replace(CPU32, **change)).fingerprint() != base
    assert create_encoder(one, replace(CPU32, heads=True)).fingerprint() == base


# (d) what cannot be had


def test_a_tag_that_cannot_be_downloaded_says_which_file_to_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    encoder = create_encoder("ViT-L-14/openai", CPU32)
    with pytest.raises(EncoderError) as caught:
        encoder.encode([encoder.prepare(Image.new("RGB", (9, 9)))])
    message = str(caught.value)
    assert "\n" not in message
    for word in (
        "ViT-L-14-quickgelu/openai",
        "models--timm--vit_large_patch14_clip_224.openai",
        "open_clip_model.safetensors",
        "HF_HUB_OFFLINE",
        "open_clip:ViT-L-14-quickgelu/PATH/TO/",
    ):
        assert word in message


def test_without_network_the_answer_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_args: object, **_kwargs: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    start = time.monotonic()
    with pytest.raises(EncoderError, match="Network is unreachable"):
        create_encoder("ViT-B-16/laion2b_s34b_b88k").fingerprint()
    assert time.monotonic() - start < 20  # the hub's client alone retries for minutes


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("ViT-L/openai", "did you mean"),
        ("ViT-L-14/nosuch", "laion2b_s32b_b82k"),
        ("open_clip:ViT-L-14", "NAME/PRETRAINED"),
        ("open_clip:", "needs a model"),
        ("ViT-B-32//nowhere/w.safetensors", "does not exist"),
        ("local-dir:/nowhere", "open_clip_config.json"),
        ("mini", "not shipped"),
    ],
)
def test_wrong_names_are_one_line(name: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigiscan.encoders.mini.shipped_models_dir", lambda: tmp_path)
    with pytest.raises(EncoderError, match=word) as caught:
        _ = create_encoder(name).name
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    name, _ = save_model(tmp_path, tiny_config())
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["layers"] = 2
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    encoder = create_encoder(name, CPU32)
    with pytest.raises(EncoderError, match="does not fit") as caught:
        encoder.encode([encoder.prepare(pictures(1)[0])])
    assert "\n" not in str(caught.value)


def test_no_code_of_a_checkpoint_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    save_model(tmp_path, tiny_config())
    (tmp_path / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": Evil()}, tmp_path / "open_clip_pytorch_model.bin")
    encoder = create_encoder(f"open_clip:local-dir:{tmp_path}", CPU32)
    with pytest.raises(EncoderError, match="cannot be read"):
        encoder.encode([encoder.prepare(pictures(1)[0])])
    assert not (tmp_path / "ran").exists()


# Files, options, precision, batches


def test_a_weights_file_works_under_a_registered_name(tmp_path: Path) -> None:
    import open_clip

    config = tmp_path / "tiny-aigiscan-test.json"
    config.write_text(json.dumps(tiny_config()))
    open_clip.add_model_config(config)
    model = random_model(tiny_config())
    for suffix in (".pt", ".safetensors"):
        file = tmp_path / f"odd+name{suffix}"
        if suffix == ".pt":
            torch.save({"state_dict": model.state_dict()}, file)
        else:
            from safetensors.torch import save_file

            save_file(model.state_dict(), file)
        encoder = create_encoder(f"tiny-aigiscan-test/{file}", CPU32)
        assert encoder.name == f"open_clip:tiny-aigiscan-test/{file}"
        images = pictures()
        ours = encoder.encode([encoder.prepare(i) for i in images])["embedding"]
        np.testing.assert_allclose(ours, stock_embedding(model, encoder, images), rtol=1e-4, atol=1e-5)


def test_a_configuration_beside_a_file_says_how_it_is_fed(tmp_path: Path) -> None:
    save_model(tmp_path, tiny_config(quick_gelu=True), preprocess={"mean": [0.1] * 3, "resize_mode": "squash"})
    source = find_source(f"ViT-B-32/{tmp_path / 'open_clip_model.safetensors'}")
    assert source.preprocess["mean"] == [0.1] * 3
    assert source.preprocess["resize_mode"] == "squash"
    assert source.config["quick_gelu"] is True


def test_mean_pooling_and_hidden_features(tmp_path: Path) -> None:
    name, model = save_model(tmp_path, tiny_config())
    images = pictures()
    hidden = create_encoder(name, replace(CPU32, pooling="mean", projection="hidden"))
    inputs = [hidden.prepare(i) for i in images]
    visual = model.visual
    with torch.inference_mode():
        tokens = visual.transformer(visual._embeds(hidden.pixels(inputs)))
        expected = visual.ln_post(tokens.mean(1))
    np.testing.assert_allclose(hidden.encode(inputs)["embedding"], expected.numpy(), rtol=1e-4, atol=1e-5)
    assert hidden.channels()["embedding"].shape == (32,)
    projected = create_encoder(name, replace(CPU32, pooling="mean"))
    np.testing.assert_allclose(
        projected.encode(inputs)["embedding"], (expected @ visual.proj).numpy(), rtol=1e-4, atol=1e-5
    )


def test_normalised_embeddings_have_length_one(tmp_path: Path) -> None:
    name, _ = save_model(tmp_path, tiny_config())
    encoder = create_encoder(name, replace(CPU32, normalize=True))
    raw = create_encoder(name, CPU32)
    inputs = [encoder.prepare(i) for i in pictures()]
    unit, plain = encoder.encode(inputs)["embedding"], raw.encode(inputs)["embedding"]
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(unit * np.linalg.norm(plain, axis=1, keepdims=True), plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("heads", [False, True])
def test_bf16_is_close_to_fp32(tmp_path: Path, heads: bool) -> None:
    name, _ = save_model(tmp_path, tiny_config())
    exact = create_encoder(name, replace(CPU32, heads=heads))
    fast = create_encoder(name, replace(CPU32, precision="bf16", heads=heads))
    inputs = [exact.prepare(i) for i in pictures(6)]
    a, b = exact.encode(inputs), fast.encode(inputs)
    for channel in a:
        x, y = a[channel].reshape(6, -1), b[channel].reshape(6, -1)
        cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        assert cosine.min() > 0.999, channel
        assert b[channel].dtype == np.float32


@pytest.mark.parametrize("attend", ["fused", "by_products"])
@pytest.mark.parametrize(("precision", "cosine"), [("fp32", 0.999999), ("bf16", 0.9999)])
def test_a_batch_changes_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, cosine: float, attend: str
) -> None:
    """Other kernels for other sizes round differently; docs/encoders.md states how much."""
    from aigiscan.encoders import attention

    monkeypatch.setattr(attention, "choose_attention", lambda *_: getattr(attention, attend))
    name, _ = save_model(tmp_path, tiny_config())
    encoder = create_encoder(name, replace(CPU32, precision=precision, normalize=True))
    inputs = [encoder.prepare(i) for i in pictures(9)]
    together = encoder.encode(inputs)["embedding"]
    alone = np.concatenate([encoder.encode([one])["embedding"] for one in inputs])
    among_others = encoder.encode(inputs[::-1])["embedding"][::-1]
    assert (together * alone).sum(1).min() > cosine
    assert (together * among_others).sum(1).min() > cosine


def test_auto_precision_is_timed_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aigiscan.encoders import device

    name, _ = save_model(tmp_path, tiny_config())
    calls = []

    def timed(*_args: object) -> dict[str, float]:
        calls.append(1)
        return {"fp32": 1.0, "bf16": 0.4}

    monkeypatch.setattr(device, "time_precisions", timed)
    auto = EncoderOptions(device="cpu")
    assert create_encoder(name, auto).fingerprint()["precision"] == "bf16"
    assert create_encoder(name, auto).fingerprint()["precision"] == "bf16"
    assert len(calls) == 1


def test_precisions_are_really_timed() -> None:
    from aigiscan.encoders.device import time_precisions

    times = time_precisions(torch.device("cpu"), torch.nn.Linear(64, 64), torch.randn(8, 64))
    assert set(times) == {"fp32", "bf16"} and all(seconds > 0 for seconds in times.values())


def test_fp16_on_a_cpu_is_refused(tmp_path: Path) -> None:
    name, _ = save_model(tmp_path, tiny_config())
    with pytest.raises(EncoderError, match="fp16 needs a GPU"):
        create_encoder(name, replace(CPU32, precision="fp16")).fingerprint()


def test_a_resnet_works_without_heads_and_says_so(tmp_path: Path) -> None:
    config = tiny_config(layers=[1, 1, 1, 1], width=8)
    del config["vision_cfg"]["patch_size"]
    name, model = save_model(tmp_path, config)
    encoder = create_encoder(name, CPU32)
    images = pictures()
    ours = encoder.encode([encoder.prepare(i) for i in images])["embedding"]
    np.testing.assert_allclose(ours, stock_embedding(model, encoder, images), rtol=1e-4, atol=1e-5)
    with pytest.raises(EncoderError, match="ResNet has convolutions"):
        create_encoder(name, replace(CPU32, heads=True))
    with pytest.raises(EncoderError, match="mean pooling"):
        create_encoder(name, replace(CPU32, pooling="mean"))


def test_mini_is_an_open_clip_model_in_the_shipped_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = save_model(tmp_path / "mini", tiny_config(), preprocess={"mean": [0.5] * 3})
    (tmp_path / "mini" / "open_clip_model.safetensors").rename(tmp_path / "mini" / "weights.safetensors")
    monkeypatch.setattr("aigiscan.encoders.mini.shipped_models_dir", lambda: tmp_path)
    encoder = create_encoder("mini", replace(CPU32, heads=True))
    assert encoder.name == encoder.fingerprint()["name"] == "mini"
    assert encoder.source.preprocess["mean"] == [0.5] * 3
    images = pictures()
    channels = encoder.encode([encoder.prepare(i) for i in images])
    assert set(channels) == {"embedding", "heads", "sigma"}
    expected = stock_embedding(model, encoder, images)
    np.testing.assert_allclose(channels["embedding"], expected, rtol=1e-4, atol=1e-5)
    assert encoder.encode_text(["a cat"]).shape == (1, 24)


def test_long_batches_are_cut_on_a_cpu_and_come_back_in_order(tmp_path: Path) -> None:
    from aigiscan.encoders.open_clip_encoder import CPU_BATCH

    name, model = save_model(tmp_path, tiny_config())
    encoder = create_encoder(name, replace(CPU32, heads=True))
    images = pictures(2 * CPU_BATCH + 3)
    channels = encoder.encode([encoder.prepare(i) for i in images])
    assert {len(values) for values in channels.values()} == {2 * CPU_BATCH + 3}
    expected = stock_embedding(model, encoder, images)
    np.testing.assert_allclose(channels["embedding"], expected, rtol=1e-4, atol=1e-5)

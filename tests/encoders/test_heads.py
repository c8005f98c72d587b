"""Head capture and the algebra from head outputs to the embedding, to 1e-5 relative in float32."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny_clip import pictures, random_model, save_model, tiny_config

from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.encoders.heads import decompose, head_matrices, patch_contributions
from aigiscan.errors import EncoderError

HEADS32 = EncoderOptions(device="cpu", precision="fp32", heads=True)

KINDS = {
    "openai-style": tiny_config(quick_gelu=True),
    "laion-style": tiny_config(),
    "no_ln_pre": tiny_config(no_ln_pre=True),
    "average, norm after": tiny_config(pool_type="avg", final_ln_after_pool=True),
    "layer scale": tiny_config(ls_init_value=0.5),
    "head scale, qk norm": tiny_config(scale_heads=True, qk_norm=True),
    "eps": tiny_config(norm_kwargs={"eps": 1e-2}),
}
OPTIONS = {
    "class": HEADS32,
    "mean": replace(HEADS32, pooling="mean"),
    "hidden": replace(HEADS32, projection="hidden"),
    "unit": replace(HEADS32, normalize=True),
    "all": replace(HEADS32, pooling="mean", projection="hidden", normalize=True),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGISCAN_CACHE", str(tmp_path / "cache"))


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_all_parts_sum_to_the_embedding(tmp_path: Path, config: dict, options: EncoderOptions) -> None:
    name, _ = save_model(tmp_path, config)
    encoder = create_encoder(name, options)
    inputs = [encoder.prepare(i) for i in pictures()]
    channels = encoder.encode(inputs)
    apart = decompose(encoder, inputs)
    assert relative(apart.embedding, channels["embedding"]) < 1e-5
    assert relative(sum(part for _, part in apart.parts()), channels["embedding"]) < 1e-5
    assert relative(apart.sigma, channels["sigma"]) < 1e-6
    names = [part for part, _ in apart.parts()]
    assert len(names) == len(set(names)) == 3 * 4 + 3 + 3 + 2
    assert np.abs(apart.heads).mean() > 1e-3  # they are not nothing


@pytest.mark.parametrize("options", [OPTIONS["class"], OPTIONS["mean"], OPTIONS["hidden"]])
def test_stored_heads_and_matrices_give_the_contributions(tmp_path: Path, options: EncoderOptions) -> None:
    name, _ = save_model(tmp_path, tiny_config(ls_init_value=0.7))
    encoder = create_encoder(name, options)
    inputs = [encoder.prepare(i) for i in pictures()]
    channels = encoder.encode(inputs)
    assert channels["heads"].shape == (3, 3, 4, 8) and channels["sigma"].shape == (3,)
    maps = head_matrices(encoder)
    z = channels["heads"] / channels["sigma"][:, None, None, None]
    contributions = np.einsum("nlhk,lhkd->nlhd", z, maps.M)
    assert relative(contributions, decompose(encoder, inputs).heads) < 1e-5
    # R Q = M, rows of Q orthonormal
    np.testing.assert_allclose(maps.R @ maps.Q, maps.M, atol=1e-5)
    identity = np.eye(8)[None, None]
    np.testing.assert_allclose(
        maps.Q @ maps.Q.transpose(0, 1, 3, 2), np.broadcast_to(identity, (3, 4, 8, 8)), atol=1e-5
    )
    assert (np.diagonal(maps.R, axis1=-2, axis2=-1) >= 0).all()


def test_ridge_in_head_columns_is_ridge_in_joint_space(tmp_path: Path) -> None:
    """The penalised fit on (1/σ) z R has the optimum of the fit on the contributions."""
    from sklearn.linear_model import LogisticRegression

    name, _ = save_model(tmp_path, tiny_config())
    encoder = create_encoder(name, HEADS32)
    inputs = [encoder.prepare(i) for i in pictures(40)]
    channels = encoder.encode(inputs)
    maps = head_matrices(encoder)
    # float64: the solver must reach the optimum, or there is nothing to compare
    z = (channels["heads"][:, 1, 2] / channels["sigma"][:, None]).astype(np.float64)
    y = np.arange(40) % 2
    joint = LogisticRegression(C=10, tol=1e-10, max_iter=5000).fit(z @ maps.M[1, 2].astype(np.float64), y)
    narrow = LogisticRegression(C=10, tol=1e-10, max_iter=5000).fit(z @ maps.R[1, 2].astype(np.float64), y)
    np.testing.assert_allclose(narrow.coef_ @ maps.Q[1, 2], joint.coef_, rtol=1e-3, atol=1e-5)


def test_heads_are_those_of_a_separately_written_attention(tmp_path: Path) -> None:
    """z of the class token in layer 0, from the stock model's weights by the textbook formula."""
    name, model = save_model(tmp_path, tiny_config())
    encoder = create_encoder(name, HEADS32)
    inputs = [encoder.prepare(i) for i in pictures(2)]
    block = model.visual.transformer.resblocks[0]
    with torch.inference_mode():
        x = block.ln_1(model.visual._embeds(encoder.pixels(inputs)))
        q, k, v = (x @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).chunk(3, -1)
        for head in range(4):
            columns = slice(8 * head, 8 * head + 8)
            alpha = (q[:, :1, columns] @ k[:, :, columns].mT / np.sqrt(8)).softmax(-1)
            expected = (alpha @ v[:, :, columns])[:, 0]
            np.testing.assert_allclose(encoder.encode(inputs)["heads"][:, 0, head], expected, rtol=1e-4, atol=1e-5)


def test_capturing_heads_changes_no_embedding(tmp_path: Path) -> None:
    name, _ = save_model(tmp_path, tiny_config())
    for precision in ("fp32", "bf16"):
        on = create_encoder(name, replace(HEADS32, precision=precision))
        off = create_encoder(name, replace(HEADS32, precision=precision, heads=False))
        inputs = [on.prepare(i) for i in pictures()]
        np.testing.assert_array_equal(on.encode(inputs)["embedding"], off.encode(inputs)["embedding"])
        assert set(off.encode(inputs)) == {"embedding"}


@pytest.mark.parametrize("options", [OPTIONS["class"], OPTIONS["mean"], OPTIONS["unit"]])
@pytest.mark.parametrize("kind", ["openai-style", "average, norm after", "layer scale", "head scale, qk norm"])
def test_patches_sum_to_their_heads(tmp_path: Path, kind: str, options: EncoderOptions) -> None:
    name, _ = save_model(tmp_path, KINDS[kind])
    encoder = create_encoder(name, options)
    inputs = [encoder.prepare(i) for i in pictures()]
    direction = np.random.default_rng(0).normal(size=24).astype(np.float32)
    patches = patch_contributions(encoder, inputs, direction)
    rows, columns = encoder.grid
    assert patches.shape == (3, 3, 4, 1 + rows * columns)
    heads = decompose(encoder, inputs).heads
    assert relative(patches.sum(-1), heads @ direction) < 1e-5
    own = np.random.default_rng(1).normal(size=(3, 4, 24)).astype(np.float32)  # one direction per head
    of_each = np.einsum("nlhd,lhd->nlh", heads, own)
    assert relative(patch_contributions(encoder, inputs, own).sum(-1), of_each) < 1e-5


def test_a_patch_without_values_adds_nothing(tmp_path: Path) -> None:
    """Planted: in the last layer only patch 5's value vector is not zero, so it alone contributes there."""
    name, _ = save_model(tmp_path, tiny_config())
    encoder = create_encoder(name, HEADS32)
    block = encoder.tower.blocks[-1]
    attention = block.attn
    inputs = [encoder.prepare(i) for i in pictures(1)]

    def blank(module, args, x):
        attention.in_proj_weight[64:] = 0
        attention.in_proj_bias[64:] = 0
        # one direction of the input that only token 5 has
        marked = torch.zeros_like(x)
        marked[:, 5, 0] = 50.0
        attention.in_proj_weight[64:, 0] = 1.0
        return marked

    hook = block.ln_1.register_forward_hook(blank)
    try:
        patches = patch_contributions(encoder, inputs, np.ones(24, np.float32))[0, -1]
    finally:
        hook.remove()
    assert np.abs(patches[:, 5]).max() > 0.1
    np.testing.assert_array_equal(np.delete(patches, 5, axis=1), 0)


def test_decomposition_of_a_fast_encoder_is_exact(tmp_path: Path) -> None:
    name, _ = save_model(tmp_path, tiny_config())
    fast = create_encoder(name, replace(HEADS32, precision="bf16"))
    exact = create_encoder(name, HEADS32)
    inputs = [exact.prepare(i) for i in pictures()]
    apart = decompose(fast, inputs)
    assert relative(sum(part for _, part in apart.parts()), exact.encode(inputs)["embedding"]) < 1e-5


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (tiny_config(pool_type="avg"), "averages tokens after"),
        (tiny_config(attentional_pool=True, attn_pooler_heads=4), "pools by attention"),
        (tiny_config(scale_attn=True), "normalises the attention"),
    ],
)
def test_what_is_no_sum_over_heads_is_refused(tmp_path: Path, config: dict, word: str) -> None:
    name, _ = save_model(tmp_path, config)
    with pytest.raises(EncoderError, match=word) as caught:
        create_encoder(name, HEADS32)
    assert "\n" not in str(caught.value)
    with pytest.raises(EncoderError, match=word):
        decompose(create_encoder(name, replace(HEADS32, heads=False)), [])


def test_mean_pooling_makes_norm_first_models_a_sum_again(tmp_path: Path) -> None:
    name, _ = save_model(tmp_path, tiny_config(pool_type="avg"))
    encoder = create_encoder(name, replace(HEADS32, pooling="mean"))
    inputs = [encoder.prepare(i) for i in pictures()]
    parts = sum(part for _, part in decompose(encoder, inputs).parts())
    assert relative(parts, encoder.encode(inputs)["embedding"]) < 1e-5


def test_vit_b_32(tmp_path: Path) -> None:
    """The real architecture, random weights: custom blocks equal the stock model, and the sum is exact."""
    import open_clip
    from safetensors.torch import save_file

    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    config["text_cfg"].update(layers=1, width=64, heads=1)  # the text tower is not what is tested
    model = random_model(config)
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    encoder = create_encoder(f"local-dir:{tmp_path}", HEADS32)
    inputs = [encoder.prepare(i) for i in pictures(2)]
    channels = encoder.encode(inputs)
    assert channels["heads"].shape == (2, 12, 12, 64)
    with torch.inference_mode():
        stock = model.encode_image(encoder.pixels(inputs)).numpy()
    assert relative(channels["embedding"], stock) < 1e-5
    assert relative(sum(part for _, part in decompose(encoder, inputs).parts()), stock) < 1e-5
    fast = create_encoder(f"local-dir:{tmp_path}", replace(HEADS32, precision="bf16"))
    quick = fast.encode(inputs)["embedding"]
    cosine = (quick * stock).sum(1) / np.linalg.norm(quick, axis=1) / np.linalg.norm(stock, axis=1)
    assert cosine.min() > 0.999

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bad_files import encoded, photo
from hypothesis import given
from hypothesis import strategies as st

from aigiscan.errors import InputError
from aigiscan.images.labels import find_labelled, split_by_group
from aigiscan.images.records import FAKE, REAL, ImageRecord

PNG = encoded(photo(8, 8), "PNG")


def plant(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    return root


def by_name(root: Path) -> dict[str, ImageRecord]:
    return {str(Path(r.path).relative_to(root)): r for r in find_labelled(root)}


def facts(root: Path) -> dict[str, tuple[int | None, str, str, str]]:
    return {name: (r.label, r.generator, r.source, r.split) for name, r in by_name(root).items()}


def test_generator_folders_in_a_container(tmp_path: Path) -> None:
    plant(tmp_path, "wild/flux/1_fake/a.png", "wild/places/0_real/b.png", "ffhq/0_real/c.png", "gan/1_fake/deep/d.png")
    assert facts(tmp_path) == {
        "wild/flux/1_fake/a.png": (FAKE, "flux", "flux", ""),
        "wild/places/0_real/b.png": (REAL, "", "places", ""),
        "ffhq/0_real/c.png": (REAL, "", "ffhq", ""),
        "gan/1_fake/deep/d.png": (FAKE, "gan", "gan", ""),
    }


def test_classes_of_one_generator(tmp_path: Path) -> None:
    plant(
        tmp_path,
        *(f"test/progan/{name}/{label}/0.png" for name in ("car", "cat") for label in ("0_real", "1_fake")),
        "test/deepfake/0_real/1.png",
        "test/deepfake/1_fake/2.png",
    )
    found = facts(tmp_path)
    assert found["test/progan/car/1_fake/0.png"] == (FAKE, "progan", "progan", "test")
    assert found["test/progan/cat/0_real/0.png"] == (REAL, "", "progan", "test")
    assert found["test/deepfake/1_fake/2.png"] == (FAKE, "deepfake", "deepfake", "test")


def test_nature_and_ai_with_splits_below(tmp_path: Path) -> None:
    plant(tmp_path, "sdv5/train/ai/a.png", "sdv5/val/nature/b.png", "adm/val/AI/c.png")
    assert facts(tmp_path) == {
        "sdv5/train/ai/a.png": (FAKE, "sdv5", "sdv5", "train"),
        "sdv5/val/nature/b.png": (REAL, "", "sdv5", "val"),
        "adm/val/AI/c.png": (FAKE, "adm", "adm", "val"),
    }


def test_plain_and_with_folders_below(tmp_path: Path) -> None:
    plant(tmp_path / "plain", "real/a.png", "fake/b.png")
    assert facts(tmp_path / "plain") == {
        "real/a.png": (REAL, "", "real", ""),
        "fake/b.png": (FAKE, "unknown", "unknown", ""),
    }
    plant(tmp_path / "below", "real/flickr/a.png", "fake/sd/b.png", "fake/dalle/c.png")
    assert facts(tmp_path / "below") == {
        "real/flickr/a.png": (REAL, "", "flickr", ""),
        "fake/sd/b.png": (FAKE, "sd", "sd", ""),
        "fake/dalle/c.png": (FAKE, "dalle", "dalle", ""),
    }


def test_real_beside_generators(tmp_path: Path) -> None:
    plant(tmp_path / "flat", "real/a.png", "sd/b.png", "gan/cars/c.png")
    assert facts(tmp_path / "flat") == {
        "real/a.png": (REAL, "", "real", ""),
        "sd/b.png": (FAKE, "sd", "sd", ""),
        "gan/cars/c.png": (FAKE, "gan", "gan", ""),
    }
    plant(tmp_path / "split", "train/real/coco/a.png", "train/sd/b.png", "test/sd/c.png")
    assert facts(tmp_path / "split") == {
        "train/real/coco/a.png": (REAL, "", "coco", "train"),
        "train/sd/b.png": (FAKE, "sd", "sd", "train"),
        "test/sd/c.png": (FAKE, "sd", "sd", "test"),
    }


def test_pairs_share_a_group(tmp_path: Path) -> None:
    plant(tmp_path, "g/0_real/1.png", "g/0_real/2.png", "g/0_real/3.png", "g/1_fake/1.jpg", "g/1_fake/2.png")
    plant(tmp_path, "h/0_real/1.png", "h/1_fake/1.png", "h/1_fake/other.png")
    groups = {name: r.group for name, r in by_name(tmp_path).items()}
    assert groups["g/0_real/1.png"] == groups["g/1_fake/1.jpg"] == "g/1"
    assert groups["g/0_real/2.png"] == groups["g/1_fake/2.png"] == "g/2"
    assert groups["g/0_real/3.png"] == ""
    assert {group for name, group in groups.items() if name.startswith("h/")} == {""}


def test_manifest_in_the_folder_goes_before_the_layout(tmp_path: Path) -> None:
    plant(tmp_path, "gan/1_fake/a.png", "wild/places/0_real/b.png", "c.png", "left_out/1_fake/x.png")
    plant(tmp_path, "gan/1_fake/d.png", "wild/places/0_real/e.png")
    (tmp_path / "manifest.csv").write_text(
        "path,label,generator,family,group,split,source\n"
        "gan/1_fake/a.png,fake,stylegan2,gan,g1,train,nvidia\n"
        "wild/places/0_real/b.png,real,,,g1,validation,site\n"
        "c.png,nature,,,,,flickr\n"
        "gan/1_fake/d.png,ai,,,,,\n"
        "wild/places/0_real/e.png,real,,,,,\n"
    )
    found = by_name(tmp_path)
    assert facts(tmp_path) == {
        "gan/1_fake/a.png": (FAKE, "stylegan2", "nvidia", "train"),
        "wild/places/0_real/b.png": (REAL, "", "site", "val"),
        "c.png": (REAL, "", "flickr", ""),
        "gan/1_fake/d.png": (FAKE, "gan", "gan", ""),
        "wild/places/0_real/e.png": (REAL, "", "places", ""),
    }
    assert [found[name].group for name in sorted(found)] == ["", "g1", "", "g1", ""]
    assert found["gan/1_fake/a.png"].family == "gan"
    assert find_labelled(tmp_path / "manifest.csv") == find_labelled(tmp_path)


def test_a_manifest_without_labels_is_not_taken_for_one(tmp_path: Path) -> None:
    plant(tmp_path, "real/a.png", "fake/b.png")
    (tmp_path / "manifest.csv").write_text("path,size\nreal/a.png,3\n")
    assert len(find_labelled(tmp_path)) == 2
    with pytest.raises(InputError, match="no columns 'path' and 'label'"):
        find_labelled(tmp_path / "manifest.csv")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no images under"),
        (["a.png", "b.png"], "cannot tell"),
        (["sd/a.png", "gan/b.png"], "cannot tell"),
        (["real/a.png"], "no AI-generated images"),
        (["g/1_fake/a.png"], "no photographs"),
        (["a/0_real/a.png", "b/0_real/b.png"], "photographs alone"),
        (["real/a.png", "fake/b.png", "other/c.png"], "lies in no folder named real or fake"),
        (["real/a.png", "sd/b.png", "c.png"], "lies beside the folders"),
    ],
)
def test_what_cannot_be_read_shows_the_layouts(tmp_path: Path, names: list[str], message: str) -> None:
    plant(tmp_path, *names)
    with pytest.raises(InputError, match=message) as caught:
        find_labelled(tmp_path)
    assert "ROOT/<generator>/{0_real,1_fake}" in str(caught.value)


def test_missing_and_unlabelled(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        find_labelled(tmp_path / "nowhere")
    plant(tmp_path, "a.png")
    (tmp_path / "manifest.csv").write_text("path,label\na.png,\n")
    with pytest.raises(InputError, match=r"a\.png has no label"):
        find_labelled(tmp_path)


@given(
    groups=st.lists(st.sampled_from(["", "a", "b", "c", "d", "e"]), min_size=1, max_size=60),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_groups_are_never_split(groups: list[str], seed: int, data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.integers(0, 1), min_size=len(groups), max_size=len(groups)))
    parts = split_by_group(groups, labels, [0.5, 0.3, 0.2], seed)
    assert set(parts) <= {0, 1, 2}
    for name in set(groups) - {""}:
        assert len({part for part, group in zip(parts, groups, strict=True) if group == name}) == 1
    assert np.array_equal(parts, split_by_group(groups, labels, [0.5, 0.3, 0.2], seed))


def test_parts_have_their_share_of_both_labels() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(1000) < 0.2).astype(int)
    groups = [f"g{i}" if i else "" for i in rng.integers(0, 150, 1000)]
    parts = split_by_group(groups, labels, [0.6, 0.2, 0.2], seed=3)
    for part, share in enumerate([0.6, 0.2, 0.2]):
        for label in (0, 1):
            assert (labels[parts == part] == label).sum() == pytest.approx(share * (labels == label).sum(), abs=6)
    assert not np.array_equal(parts, split_by_group(groups, labels, [0.6, 0.2, 0.2], seed=4))


@pytest.mark.parametrize("fractions", [[], [0.5, 0.6], [1.5, -0.5], [0.0, 1.0]])
def test_fractions_are_checked(fractions: list[float]) -> None:
    with pytest.raises(InputError, match="fractions"):
        split_by_group(["a"], [0], fractions, 0)

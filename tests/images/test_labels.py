from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bad_files import encoded, photo
from hypothesis import given
from hypothesis import strategies as st

from aigiscan.errors import InputError
from aigiscan.images.labels import find_labelled, label_folders, split_by_group, what_was_found
from aigiscan.images.layouts import UnlabelledError
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
        (["a/0_real/a.png", "b/0_real/b.png"], "no AI-generated images"),
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
    with pytest.raises(UnlabelledError, match="'label' is empty"):
        find_labelled(tmp_path)
    (tmp_path / "manifest.csv").write_text("path,label\nb.png,real\na.png,\n")
    with pytest.raises(InputError, match=r"line 3: .*a\.png has no label"):
        find_labelled(tmp_path)


def test_genimage_given_too_high_keeps_its_generators(tmp_path: Path) -> None:
    names = [
        f"GenImage/{generator}/imagenet_ai_{number}/{split}/{label}/{label}.png"
        for number, generator in enumerate(("ADM", "BigGAN", "wukong"))
        for split in ("train", "val")
        for label in ("ai", "nature")
    ]
    for root in (plant(tmp_path / "up", *names), tmp_path / "up" / "GenImage"):
        found = find_labelled(root)
        assert {r.generator for r in found if r.label == FAKE} == {"ADM", "BigGAN", "wukong"}
        assert {r.source for r in found if r.label == REAL} == {"ADM", "BigGAN", "wukong"}
        assert {r.split for r in found} == {"train", "val"}
    short = [
        f"data/GenImage/{g}/{s}/{x}/1.png" for g in ("sdv5", "adm") for s in ("train", "val") for x in ("ai", "nature")
    ]
    assert {r.generator for r in find_labelled(plant(tmp_path / "short", *short)) if r.label == FAKE} == {"sdv5", "adm"}


def test_what_lies_right_above_a_split_is_a_generator(tmp_path: Path) -> None:
    names = [f"set/{g}/{s}/{x}/1.png" for g in ("one", "two") for s in ("train", "val") for x in ("ai", "nature")]
    assert {r.generator for r in find_labelled(plant(tmp_path, *names)) if r.label == FAKE} == {"one", "two"}


def test_a_collection_of_generators_is_not_taken_for_one_with_classes(tmp_path: Path) -> None:
    names = [f"CNNSpot/{g}/{x}/1.png" for g in ("stylegan", "biggan", "crn") for x in ("0_real", "1_fake")]
    found = find_labelled(plant(tmp_path, *names))
    assert {r.generator for r in found if r.label == FAKE} == {"stylegan", "biggan", "crn"}


def test_forensynths_classes_are_not_generators(tmp_path: Path) -> None:
    classes = ("airplane", "cat", "train")
    names = [f"train/{c}/{x}/1.png" for c in classes for x in ("0_real", "1_fake")]
    for root in (plant(tmp_path / "progan", *names), plant(tmp_path / "up", *(f"progan/{n}" for n in names))):
        found = find_labelled(root)
        assert {(r.generator, r.split) for r in found if r.label == FAKE} == {("progan", "train")}
    # in the test set a class called train is no split
    names = [f"progan/{c}/{x}/1.png" for c in classes for x in ("0_real", "1_fake")]
    found = find_labelled(plant(tmp_path / "test", *names))
    assert {(r.generator, r.split) for r in found if r.label == FAKE} == {("progan", "")}


def test_diffusion_forensics(tmp_path: Path) -> None:
    plant(
        tmp_path,
        *(f"images/{s}/lsun_bedroom/{g}/1.png" for s in ("train", "test") for g in ("real", "adm", "ddpm")),
        *(f"images/test/imagenet/{g}/n01/1.png" for g in ("real", "sdv1")),
    )
    found = facts(tmp_path)
    assert found["images/train/lsun_bedroom/adm/1.png"] == (FAKE, "adm", "adm", "train")
    assert found["images/test/lsun_bedroom/real/1.png"] == (REAL, "", "lsun_bedroom", "test")
    assert found["images/test/imagenet/sdv1/n01/1.png"] == (FAKE, "sdv1", "sdv1", "test")
    assert len(found) == 8


@pytest.mark.parametrize(
    ("real", "fake"),
    [("0.0", "1.0"), ("FALSE", "TRUE"), ("human", "AI"), ("original", "ai-generated"), ("Real Images", "fake_images")],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spellings_of_manifests(tmp_path: Path, real: str, fake: str, separator: str) -> None:
    plant(tmp_path, "a.png", "b.png")
    rows = [("path", "label", "generator"), ("a.png", real, ""), ("b.png", fake, 'sd, "one"')]
    text = "\n".join(separator.join(f'"{cell}"'.replace('"one"', '""one""') for cell in row) for row in rows)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "list.csv").write_text(text, encoding=encoding)
        found = find_labelled(tmp_path / "list.csv")
        assert [(r.label, r.generator) for r in found] == [(REAL, ""), (FAKE, 'sd, "one"')]


@pytest.mark.parametrize("names", [("human", "ai"), ("real_images", "fake_images"), ("original", "AI_generated")])
def test_spellings_of_folders(tmp_path: Path, names: tuple[str, str]) -> None:
    plant(tmp_path, f"{names[0]}/a.png", f"{names[1]}/b.png")
    assert [r.label for r in find_labelled(tmp_path)] == [REAL if n == names[0] else FAKE for n in sorted(names)]


def test_a_class_called_human_is_no_label_below_a_clear_one(tmp_path: Path) -> None:
    plant(tmp_path, "gan/1_fake/human/a.png", "gan/0_real/human/b.png")
    assert [r.label for r in find_labelled(tmp_path)] == [REAL, FAKE]


def test_one_side_alone_for_a_finished_detector(tmp_path: Path) -> None:
    plant(tmp_path, "g/1_fake/a.png")
    assert [r.label for r in find_labelled(tmp_path, both=False)] == [FAKE]
    plant(tmp_path / "photos", "cam/0_real/a.png")
    assert [(r.label, r.source) for r in find_labelled(tmp_path / "photos", both=False)] == [(REAL, "cam")]


def test_include_finds_rows_of_a_manifest_however_they_are_spelled(tmp_path: Path) -> None:
    plant(tmp_path, "x/a.png", "b.png", "c.webp")
    (tmp_path / "manifest.csv").write_text("path,label\n./x/a.png,real\nx/../b.png,fake\n./c.webp,fake\n")
    assert len(find_labelled(tmp_path, include=["*.png"])) == 2
    assert len(find_labelled(tmp_path, include=["x/*.png"], both=False)) == 1
    assert len(find_labelled(tmp_path, exclude=["x"], both=False)) == 2


def test_folders_named_one_by_one(tmp_path: Path) -> None:
    plant(tmp_path / "mine", "a.jpg", "phone/b.jpg", "train/phone/c.jpg")
    plant(tmp_path / "made", "sd/a.png", "flux/1/b.png", "c.png")
    found = label_folders([tmp_path / "mine"], [tmp_path / "made"])
    assert {str(Path(r.path).relative_to(tmp_path)): (r.label, r.generator, r.source, r.split) for r in found} == {
        "mine/a.jpg": (REAL, "", "mine", ""),
        "mine/phone/b.jpg": (REAL, "", "phone", ""),
        "mine/train/phone/c.jpg": (REAL, "", "phone", "train"),
        "made/sd/a.png": (FAKE, "sd", "sd", ""),
        "made/flux/1/b.png": (FAKE, "flux", "flux", ""),
        "made/c.png": (FAKE, "made", "made", ""),
    }
    assert [r.path for r in found] == sorted(r.path for r in found)
    assert len(label_folders([], [tmp_path / "made"])) == 3
    with pytest.raises(InputError, match="among the photographs and among the generated"):
        label_folders([tmp_path / "mine"], [tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image in"):
        label_folders([tmp_path / "mine"], [tmp_path / "empty"])


def test_what_was_found_is_told(tmp_path: Path) -> None:
    plant(tmp_path, "train/sd/fake/1.png", "train/sd/real/1.png", "test/flux/fake/a.png", "test/flux/fake/b.png")
    lines = what_was_found(find_labelled(tmp_path))
    assert lines[0] == "4 images: 1 photograph, 3 AI-generated"
    assert "1 photo source: sd 1" in lines
    assert "2 generators: flux 2, sd 1" in lines
    assert "2 splits: test 2, train 2" in lines
    assert "groups that stay on one side of a split: 1, of 2 images" in lines


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


def test_labels_of_a_single_image_are_spread_over_the_parts_together() -> None:
    parts = split_by_group([""] * 200, np.arange(200), [0.7, 0.3], seed=0)
    assert np.bincount(parts).tolist() == [140, 60]


@pytest.mark.parametrize("fractions", [[], [0.5, 0.6], [1.5, -0.5], [0.0, 1.0]])
def test_fractions_are_checked(fractions: list[float]) -> None:
    with pytest.raises(InputError, match="fractions"):
        split_by_group(["a"], [0], fractions, 0)

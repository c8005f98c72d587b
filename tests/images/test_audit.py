from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bad_files import encoded, photo
from PIL import Image

from aigiscan.images.audit import audit, byte_count_floor, find_duplicates, find_repetition
from aigiscan.images.equalize import Equalization, jpeg_bytes, recompress
from aigiscan.images.labels import find_labelled
from aigiscan.images.measure import Measured, equalized_bytes, measure, perceptual_hash
from aigiscan.images.records import FAKE, REAL, FileFacts, ImageRecord

RNG = np.random.default_rng(0)


def item(i: int, label: int, **changes: object) -> Measured:
    """A made-up file whose facts say nothing about its label unless changed."""
    facts = {
        "width": int(RNG.integers(300, 600)),
        "height": int(RNG.integers(300, 600)),
        "format": str(RNG.choice(["JPEG", "PNG"])),
        "sha256": f"{i:064x}",
    }
    facts["bytes"] = int(facts["width"] * facts["height"] * RNG.uniform(0.2, 0.6))
    record = {"label": label, "generator": "gan" if label else "", "path": f"{i:05d}.jpg"}
    rest: dict[str, object] = {}
    for key, value in changes.items():
        (facts if key in facts else rest if key in ("tables", "phash", "error") else record)[key] = value
    return Measured(ImageRecord(**record), FileFacts(**facts), **rest)


def aucs(items: list[Measured]) -> dict[str, float]:
    return {fact.name: fact.auc for fact in audit(items).facts}


def test_facts_that_say_nothing_are_at_chance_and_not_reported() -> None:
    for n in (60, 300):
        result = audit([item(i, i % 2) for i in range(n)])
        assert all(0.5 <= fact.auc < 0.75 for fact in result.facts)
        assert result.findings == ()
        assert result.worst_auc < 0.75


@pytest.mark.parametrize(
    ("name", "real", "fake"),
    [
        ("format", {"format": "JPEG"}, {"format": "PNG"}),
        ("size", {"width": 400, "height": 300}, {"width": 512, "height": 512}),
        ("aspect ratio", {"width": 300, "height": 450}, {"width": 450, "height": 450}),
        ("bytes per pixel", {"bytes": 30_000}, {"bytes": 900_000}),
        ("JPEG tables", {"tables": (16,) * 128}, {"tables": (2,) * 128}),
    ],
)
def test_a_planted_fact_is_found(name: str, real: dict[str, object], fake: dict[str, object]) -> None:
    items = [item(i, i % 2, **(fake if i % 2 else real)) for i in range(200)]
    found = aucs(items)
    assert found[name] > 0.99
    assert found["all file facts together"] > 0.99
    assert found["format"] < 0.65 or name == "format"
    said = audit(items).findings
    assert any(name in line and "alone tell" in line and "AUC 1.00" in line for line in said)
    assert any("--equalize square:224,jpeg:75" in line for line in said)
    assert ("all 100 PNG files are generated" in said) == (name == "format")


def test_groups_are_not_split_so_a_group_cannot_give_itself_away() -> None:
    """Each group has one size and one label drawn at random: only its own members could tell."""
    items = []
    for group in range(40):
        label, side = int(RNG.integers(2)), int(RNG.integers(200, 5000))
        items += [item(group * 10 + i, label, width=side, height=side, group=f"g{group}") for i in range(10)]
    assert aucs(items)["size"] < 0.7
    alone = [Measured(ImageRecord(m.record.path, label=m.record.label), m.facts) for m in items]
    assert aucs(alone)["size"] > 0.9


def test_tables_are_judged_among_jpeg_files_alone() -> None:
    jpegs = [item(i, i % 2, tables=(int(RNG.integers(1, 30)),) * 128) for i in range(200)]
    others = [item(1000 + i, FAKE) for i in range(100)]
    (tables,) = [fact for fact in audit(jpegs + others).facts if fact.name == "JPEG tables"]
    assert (tables.n_real, tables.n_fake) == (100, 100)
    assert tables.auc < 0.65


def test_few_files_give_no_figure() -> None:
    result = audit([item(i, int(i < 5)) for i in range(100)])
    assert all(np.isnan(fact.auc) for fact in result.facts)
    assert np.isnan(result.worst_auc)
    assert audit([]).findings == ()


def test_same_seed_same_answer_and_unreadable_left_out() -> None:
    items = [item(i, i % 2) for i in range(300)]
    broken = [item(900 + i, FAKE, width=0, error="truncated JPEG", sha256="same") for i in range(50)]
    assert audit(items, seed=3) == audit(items + broken, seed=3)


def test_identical_files_and_what_they_cross() -> None:
    items = [
        item(0, REAL, sha256="a", split="train", group="g"),
        item(1, REAL, sha256="a", split="test", group="g"),
        item(2, REAL, sha256="b", group="h"),
        item(3, FAKE, sha256="b", group="h"),
        item(4, REAL, sha256="c", group="i"),
        item(5, REAL, sha256="c", group="i"),
        item(6, REAL, sha256="d"),
    ]
    found = {d.paths: (d.kind, d.crosses) for d in find_duplicates(items)}
    assert found == {
        ("00000.jpg", "00001.jpg"): ("identical", ("split",)),
        ("00002.jpg", "00003.jpg"): ("identical", ("label",)),
        ("00004.jpg", "00005.jpg"): ("identical", ()),
    }
    (line,) = [text for text in audit(items).findings if "identical files" in text]
    assert line.startswith("3 sets of identical files (6 files; 1 across labels, 1 across splits)")


def test_reencoded_copies_are_near_and_other_pictures_are_not() -> None:
    rng = np.random.default_rng(1)
    blobs = [Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)) for _ in range(30)]
    originals = [blob.resize((160, 120), Image.Resampling.BICUBIC) for blob in blobs]
    pictures = [*originals, originals[7].resize((96, 72)), recompress(originals[3], 50)]
    items = [item(i, REAL, phash=perceptual_hash(picture)) for i, picture in enumerate(pictures)]
    found = {d.paths: d.kind for d in find_duplicates(items)}
    assert found == {("00003.jpg", "00031.jpg"): "near", ("00007.jpg", "00030.jpg"): "near"}


def test_a_repetitive_generator_is_named() -> None:
    base = [int(h) for h in RNG.integers(0, 2**63, 4)]
    items = []
    for i in range(20):  # five of each of four pictures, up to three bits apart
        items.append(item(i, FAKE, generator="parrot", phash=base[i % 4] ^ (1 << (i // 4))))
    for i in range(20, 60):
        items.append(item(i, FAKE, generator="varied", phash=int(RNG.integers(0, 2**63))))
    for i in range(60, 64):  # the other generator's pictures do not count against this one
        items.append(item(i, FAKE, generator="varied", phash=base[i % 4]))
    for i in range(64, 70):
        items.append(item(i, FAKE, generator="few", phash=base[0]))
    found = {r.generator: (r.n, r.share) for r in find_repetition(items)}
    assert found == {"parrot": (20, 1.0), "varied": (44, 0.0)}
    assert (
        "generator parrot repeats itself: 100% of its 20 images have a near-duplicate among them"
        in audit(items).findings
    )


def test_floor_is_the_auc_of_the_byte_count_in_either_direction() -> None:
    assert byte_count_floor([0, 0, 1, 1], [1, 2, 3, 4]) == 1.0
    assert byte_count_floor([0, 0, 1, 1], [4, 3, 2, 1]) == 1.0
    assert byte_count_floor([0, 1, 0, 1], [1, 1, 1, 1]) == 0.5
    assert np.isnan(byte_count_floor([1, 1], [1, 2]))


def test_equalized_bytes_are_those_of_the_last_encode() -> None:
    square = Equalization.parse("square:32")
    expected = len(jpeg_bytes(square.apply(photo()), 60))
    assert equalized_bytes(photo(), Equalization.parse("square:32,jpeg:60")) == expected
    assert equalized_bytes(photo(), square) == len(jpeg_bytes(square.apply(photo()), 75))


def test_from_files_to_findings(tmp_path: Path) -> None:
    """Real JPEG photographs of quality 95 against PNG and JPEG fakes of quality 50, busier, one of them twice."""
    for i in range(24):
        for folder, name, data in (
            ("real", f"{i}.jpg", encoded(photo(60, 40, seed=i), "JPEG", quality=95)),
            ("sd", f"{i}.jpg", encoded(photo(60, 40, seed=100 + i), "JPEG", quality=50)),
            ("gan", f"{i}.png", encoded(photo(40, 40, seed=200 + i), "PNG")),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_bytes(data)
    (tmp_path / "real" / "twin.jpg").write_bytes((tmp_path / "sd" / "3.jpg").read_bytes())
    (tmp_path / "sd" / "broken.jpg").write_bytes(b"")
    records = find_labelled(tmp_path)
    items = list(measure(records, equalization=Equalization.parse("square:32,jpeg:75"), workers=2))
    assert [m.record for m in items] == records
    assert items == list(measure(records, equalization=Equalization.parse("square:32,jpeg:75"), workers=5))
    by_path = {str(Path(m.record.path).relative_to(tmp_path)): m for m in items}
    assert by_path["sd/broken.jpg"].error == "empty file"
    assert len(by_path["real/0.jpg"].tables) == 128
    assert sum(by_path["real/0.jpg"].tables) < sum(by_path["sd/0.jpg"].tables)
    assert by_path["gan/0.png"].tables == ()
    result = audit(items)
    found = {fact.name: fact.auc for fact in result.facts}
    assert found["JPEG tables"] > 0.9
    assert found["aspect ratio"] > 0.7
    assert "all 24 PNG files are generated" in result.findings
    (twins,) = [d for d in result.duplicates if d.kind == "identical"]
    assert "label" in twins.crosses

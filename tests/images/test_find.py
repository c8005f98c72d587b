from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from bad_files import BadFiles, encoded, photo

from aigiscan.errors import InputError
from aigiscan.images.find import find_images
from aigiscan.images.sniff import sniff


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with images under several names, in folders, and other things."""
    png = encoded(photo(), "PNG")
    for name in (
        "b.png",
        "a.PNG",
        "sub/c.jpeg",
        "sub/deep/d",
        "sub/readme.txt",
        "sub/data.csv",
        ".git/x.png",
        "z/.h.png",
    ):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"words" if path.suffix in (".txt", ".csv") else png)
    return tmp_path / "tree"


def names(root: Path, *args: object, **options: object) -> list[str]:
    return [os.path.relpath(r.path, root) for r in find_images(*args, **options)]


def test_walk_takes_images_by_name_or_content_and_nothing_else(tree: Path) -> None:
    assert names(tree, [tree]) == ["a.PNG", "b.png", "sub/c.jpeg", "sub/deep/d"]


def test_order_is_that_of_the_path_bytes_and_each_path_comes_once(tree: Path) -> None:
    given = [tree / "sub", tree, tree / "b.png", f"{tree}/./b.png"]
    found = [r.path for r in find_images(given)]
    assert len(found) == 4
    assert found == sorted(found, key=os.fsencode)


def test_a_named_file_is_taken_whatever_it_is(tree: Path) -> None:
    (tree / "letter.doc").write_bytes(b"words")
    assert names(tree, [tree / "letter.doc"]) == ["letter.doc"]


def test_missing_path_is_an_input_error(tree: Path) -> None:
    with pytest.raises(InputError, match=r"no such file or folder: .*nowhere"):
        find_images([tree / "nowhere"])


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.png"], [], ["a.PNG", "b.png"]),
        (["sub/*"], [], ["sub/c.jpeg", "sub/deep/d"]),
        ([], ["deep"], ["a.PNG", "b.png", "sub/c.jpeg"]),
        ([], ["sub/deep/"], ["a.PNG", "b.png", "sub/c.jpeg"]),
        (["**/c.*"], ["*.png"], ["sub/c.jpeg"]),
        (["*"], ["*"], []),
    ],
)
def test_globs_are_relative_to_the_root(
    tree: Path, include: list[str], exclude: list[str], expected: list[str]
) -> None:
    assert names(tree, [tree], include=include, exclude=exclude) == expected


def test_linked_folders_are_entered_once_and_real_paths_win(tree: Path) -> None:
    (tree / "aaa").symlink_to(tree / "sub")
    (tree / "sub" / "up").symlink_to(tree)
    outside = tree.parent / "outside"
    outside.mkdir()
    (outside / "o.png").write_bytes(encoded(photo(), "PNG"))
    (tree / "link").symlink_to(outside)
    assert names(tree, [tree]) == ["a.PNG", "b.png", "link/o.png", "sub/c.jpeg", "sub/deep/d"]


def test_the_whole_zoo_is_listed_with_its_errors(bad_files: BadFiles) -> None:
    found = {r.path: r.error for r in find_images([bad_files.folder])}
    assert set(found) == set(bad_files.expected)
    assert found[str(bad_files.folder / "broken.jpg")] == "broken symlink"


def test_a_folder_that_cannot_be_listed_is_a_record(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> object:  # what anyone but root would meet
        if os.path.basename(path) == "sub":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = list(find_images([tree]))
    assert [os.path.relpath(r.path, tree) for r in found] == ["a.PNG", "b.png", "sub"]
    assert found[-1].error == "folder cannot be listed: permission denied"


def test_a_file_link_in_a_circle_is_a_record(tree: Path) -> None:
    (tree / "round.jpg").symlink_to(tree / "round.jpg")
    errors = {os.path.basename(r.path): r.error for r in find_images([tree])}
    assert errors["round.jpg"] == "broken symlink"


def test_standard_input_by_line_or_nul(tree: Path) -> None:
    lines = f"{tree}/b.png\r\n\n{tree}/sub\n{tree}/gone.png\n".encode()
    found = find_images(["-"], stdin=io.BytesIO(lines))
    assert [(os.path.relpath(r.path, tree), r.error) for r in found] == [
        ("b.png", ""),
        ("gone.png", "no such file"),
        ("sub/c.jpeg", ""),
        ("sub/deep/d", ""),
    ]
    odd = tree / "new\nline.png"
    odd.write_bytes(encoded(photo(), "PNG"))
    nul = os.fsencode(odd) + b"\0" + os.fsencode(tree / "b.png") + b"\0"
    assert names(tree, ["-"], stdin=io.BytesIO(nul)) == ["b.png", "new\nline.png"]
    assert names(tree, ["-"], stdin=io.StringIO(f"{tree}/a.PNG")) == ["a.PNG"]


def test_text_list_is_relative_to_itself_then_to_the_working_folder(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "list.txt").write_text("b.png\nsub/c.jpeg\n")
    assert names(tree, [tree / "list.txt"]) == ["b.png", "sub/c.jpeg"]
    elsewhere = tree.parent / "list.txt"
    elsewhere.write_text("sub/deep/d\n")
    monkeypatch.chdir(tree)
    assert [r.path for r in find_images([elsewhere])] == ["sub/deep/d"]


def test_manifest_columns_come_into_the_record(tree: Path) -> None:
    (tree / "m.csv").write_text(
        "\ufeffpath,Label,generator,family,group,split,caption,source\n"
        'sub/c.jpeg,fake,sd,diffusion,g1,Validation,"a dog, a cat",x\n'
        "b.png,0,,,,,,\n"
        "gone.png,nature,,,,odd,,\n",
        encoding="utf-8",
    )
    b, gone, c = find_images([tree / "m.csv"])
    assert (c.label, c.generator, c.family, c.group, c.split, c.caption, c.source) == (
        1, "sd", "diffusion", "g1", "val", "a dog, a cat", "x",
    )  # fmt: skip
    assert (b.label, b.error) == (0, "")
    assert (gone.label, gone.split, gone.error) == (0, "odd", "no such file")
    assert names(tree, [tree / "m.csv"], exclude=["sub"]) == ["b.png", "gone.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,real\n", "no column 'path'"),
        ("", "no column 'path'"),
        ("path,label\na.png,maybe\n", "line 2: label 'maybe'"),
        ("path,label\na.png,real,more\n", "3 fields under 2 columns"),
        ("path,label\na.png,real\na.png,fake\n", "line 3: the same path"),
        ("path,label\n,real\n", "line 2: empty path"),
    ],
)
def test_bad_manifests_are_one_line(tree: Path, text: str, message: str) -> None:
    (tree / "m.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        find_images([tree / "m.csv"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000"])
def test_sniff_knows_every_format(name: str) -> None:
    assert sniff(encoded(photo(), name)[:32]) == name


def test_sniff_is_not_fooled_by_text_and_video() -> None:
    assert sniff(b"BMW is a maker of cars and motorcycles.") == ""
    assert sniff(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41") == ""
    assert sniff(b"") == ""


def test_camera_raw_files_are_not_taken_for_tiff(tree: Path) -> None:
    (tree / "IMG_1.NEF").write_bytes(encoded(photo(), "TIFF"))
    assert "IMG_1.NEF" not in names(tree, [tree])

from __future__ import annotations

import codecs
import io
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from bad_files import BadFiles, encoded, photo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigiscan.errors import InputError
from aigiscan.images import find as find_module
from aigiscan.images import names as names_module
from aigiscan.images.find import find_images, not_looked_at
from aigiscan.images.names import Globs
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


def test_photographs_that_cannot_be_read_are_rows_and_the_rest_is_counted(tree: Path) -> None:
    for name in ("IMG_1.NEF", "x.CR3", "y.dng", "z.jxl", "p.psd"):
        (tree / name).write_bytes(b"some bytes")
    for name in ("a.mp4", "b.mp4", "c.svg", "Makefile"):
        (tree / name).write_bytes(b"other bytes")
    skipped: Counter[str] = Counter()
    found = names(tree, [tree], skipped=skipped)
    assert found == ["IMG_1.NEF", "a.PNG", "b.png", "p.psd", "sub/c.jpeg", "sub/deep/d", "x.CR3", "y.dng", "z.jxl"]
    assert not_looked_at(skipped) == (
        "6 other files were not looked at (2 .mp4, 1 without extension, 1 .csv, 1 .svg, 1 .txt); "
        "--all-files makes a row of each"
    )
    assert not_looked_at(Counter()) == ""
    # what a glob leaves out was left out by wish
    some: Counter[str] = Counter()
    names(tree, [tree], include=["*.png", "*.mp4"], skipped=some)
    assert some == {".mp4": 2}


def test_all_files_are_rows(tree: Path) -> None:
    skipped: Counter[str] = Counter()
    assert names(tree, [tree], all_files=True, skipped=skipped) == [
        ".git/x.png", "a.PNG", "b.png", "sub/c.jpeg", "sub/data.csv", "sub/deep/d", "sub/readme.txt", "z/.h.png",
    ]  # fmt: skip
    assert not skipped


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_lists_are_decoded_by_their_byte_order_mark(tree: Path, encoding: str) -> None:
    (tree / "é.png").write_bytes(encoded(photo(), "PNG"))
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    (tree / "list.txt").write_bytes(mark + "b.png\r\né.png\r\n".encode(encoding))
    assert names(tree, [tree / "list.txt"]) == ["b.png", "é.png"]
    assert names(tree, ["-"], stdin=io.BytesIO(mark + f"{tree}/b.png\n".encode(encoding))) == ["b.png"]


def test_what_is_no_list_is_refused_and_never_walks_the_disk(tree: Path) -> None:
    no_mark = f"{tree}/b.png\n{tree}/sub\n".encode("utf-16-le")
    for content, message in (
        (no_mark, "UTF-16 without a byte order mark"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 800, "is no text"),
        (b"PK\x03\x04" + b"names/in/it.png" * 40, "is no text"),
        (bytes(range(1, 32)) * 20, "is no text"),
        (b"\xff\xfe" + b"\0\xd8" * 9 + b"x", "begins as UTF-16 and is none"),
    ):
        (tree / "list.txt").write_bytes(content)
        for paths in ([tree / "list.txt"], ["-"]):
            with pytest.raises(InputError, match=message):
                find_images(paths, stdin=io.BytesIO(content))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=300)
    | st.lists(st.sampled_from(["/", ".", "..", "a", "/tmp", "é", " "]), max_size=9).flatmap(
        lambda items: st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "utf-8", "utf-32-le"]).map(
            lambda encoding: "\n".join(items).encode(encoding)
        )
    )
)
def test_a_list_walks_no_folder_but_those_on_lines_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    walked: list[str] = []
    monkeypatch.setattr(find_module._Search, "walk", lambda self, root: iter(walked.append(root) or ()))
    (tmp_path / "list.lst").write_bytes(content)
    try:
        find_images([tmp_path / "list.lst"])
    except InputError as error:
        assert "\n" not in str(error)
        assert not walked
    lines = {part for c in ("utf-8", "utf-16", "utf-32") for part in _split(content, c) if part.strip()}
    named = {os.path.abspath(tmp_path / x) for x in lines} | {os.path.abspath(x) for x in lines}
    assert {os.path.abspath(root) for root in walked} <= named


def _split(content: bytes, encoding: str) -> list[str]:
    try:
        return re.split(r"\r?\n|\0", content.decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict"))
    except UnicodeDecodeError:
        return []


def test_composed_and_decomposed_names_are_one(tree: Path) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "fotoé"), unicodedata.normalize("NFD", "fotoé")
    folder = tree / decomposed
    folder.mkdir()
    (folder / f"{composed}ü.png".replace("ü", "u\u0308")).write_bytes(encoded(photo(), "PNG"))
    (tree / "list.txt").write_text(f"{composed}/{composed}ü.png\n{composed}\n", encoding="utf-8")
    [record] = find_images([tree / "list.txt"])
    assert record.error == "" and Path(record.path).exists()
    (tree / "m.csv").write_text(f"path,label\n{composed}/{decomposed}ü.png,real\n", encoding="utf-8")
    [record] = find_images([tree / "m.csv"])
    assert record.error == ""
    assert len(find_images([tree / composed])) == 1
    assert len(find_images([tree], include=[f"{composed}/*"])) == 1


def test_globs_on_a_system_with_other_separators_and_drives(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module.os, "sep", "\\")
    assert Globs(["sub/*.png"]).keeps("sub\\a.png")
    assert Globs([], ["sub/deep"]).excludes("Sub\\Deep")
    assert not Globs([], ["sub"]).keeps_listed("sub\\deep\\a.png")

    def two_drives(*_: object) -> str:
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    monkeypatch.undo()
    monkeypatch.setattr(os.path, "relpath", two_drives)
    (tree / "m.csv").write_text(f"path,label\n{tree}/b.png,real\n{tree}/sub/c.jpeg,fake\n")
    assert len(find_images([tree / "m.csv"], include=["*.png"])) == 1


def test_a_nul_in_a_manifest_names_its_line(tree: Path) -> None:
    for text in ("path,label\nb.png,real\na\0.png,real\n", "path,caption\nb.png,x\nb.png,a\0b\n"):
        (tree / "m.csv").write_text(text)
        with pytest.raises(InputError, match="line 3: a NUL character in column"):
            find_images([tree / "m.csv"])

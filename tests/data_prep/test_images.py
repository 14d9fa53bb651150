"""images:PATH: a folder of one's own."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from data_prep import BadInput, check_source, find_prepared, prepare


def make(folder: Path, classes: dict[str, int]) -> Path:
    """A folder of grey squares: the image i of a class has the level 10 * i."""
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new("L", (12, 10), 10 * i).save(folder / name / f"{i}.png")
    return folder


def test_sorted_classes_and_files(tmp_path: Path) -> None:
    folder = make(tmp_path / "My Birds", {"wren": 3, "owl": 2})
    (folder / "owl" / "far").mkdir()
    Image.new("RGB", (9, 9), (7, 7, 7)).save(folder / "owl" / "far" / "LOUD.JPG")
    (folder / ".hidden").mkdir()
    (folder / "readme.txt").write_text("not in a class")
    (folder / "wren" / "notes.txt").write_text("no image")
    screen = io.StringIO()
    dataset = prepare(f"images:{folder}", size=8, root=tmp_path / "data", console=Console(file=screen))
    assert dataset.name == "images-My_Birds"
    assert dataset.path.name == f"images-My_Birds-8px-{dataset.fingerprint}"
    assert dataset.classes == ("owl", "wren")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.images[:, 4, 4, 0].tolist() == [0, 10, 7, 0, 10, 20]  # 0.png, 1.png, far/LOUD.JPG; 0.png, 1.png, 2.png
    assert screen.getvalue() == "1 files without an image's extension left out, the first is wren/notes.txt\n"


def test_a_changed_folder_is_prepared_anew(tmp_path: Path) -> None:
    folder = make(tmp_path / "birds", {"owl": 2, "wren": 2})
    one = prepare(f"images:{folder}", size=8, root=tmp_path / "data")
    Image.new("L", (12, 10), 200).save(folder / "owl" / "0.png")
    two = prepare(f"images:{folder}", size=8, root=tmp_path / "data")
    assert one.fingerprint != two.fingerprint
    assert (one.images[0, 0, 0, 0], two.images[0, 0, 0, 0]) == (0, 200)
    os.utime(folder / "owl" / "0.png", (1, 1))  # touched, not changed: read again, and found to be equal
    assert prepare(f"images:{folder}", size=8, root=tmp_path / "data").path == two.path
    assert len(list((tmp_path / "data").glob("images-birds-8px-*"))) == 2


def test_what_was_prepared_is_found_while_its_images_are_the_same(tmp_path: Path) -> None:
    folder, root = make(tmp_path / "photos", {"cat": 4, "dog": 4}), tmp_path / "data"
    name = f"images:{folder}"
    assert find_prepared(name, size=8, root=root) is None
    made = prepare(name, size=8, root=root)
    found = find_prepared(name, size=8, root=root)
    assert found
    assert found.path == made.path
    (folder / "cat" / "0.png").unlink()
    assert find_prepared(name, size=8, root=root) is None


def test_two_folders_of_one_name(tmp_path: Path) -> None:
    one = prepare(f"images:{make(tmp_path / 'a' / 'x', {'b': 2, 'c': 1})}", size=8, root=tmp_path / "data")
    two = prepare(f"images:{make(tmp_path / 'b' / 'x', {'b': 1, 'c': 2})}", size=8, root=tmp_path / "data")
    assert one.name == two.name
    assert one.labels.tolist() == [0, 0, 1]
    assert two.labels.tolist() == [0, 1, 1]


def test_a_broken_link_and_a_broken_image_are_counted(tmp_path: Path) -> None:
    folder = make(tmp_path / "birds", {"owl": 150, "wren": 150})
    (folder / "owl" / "x.png").symlink_to(tmp_path / "nowhere")
    (folder / "wren" / "y.png").write_bytes(b"")
    dataset = prepare(f"images:{folder}", size=8, root=tmp_path / "data")
    assert dataset.skipped == 2
    assert dataset.info["skipped"] == [
        {"file": "owl/x.png", "reason": "No such file or directory"},
        {"file": "wren/y.png", "reason": "not an image"},
    ]
    assert np.bincount(dataset.labels).tolist() == [150, 150]


@pytest.mark.parametrize("broken", [0, 1])
def test_a_class_without_an_image(tmp_path: Path, broken: int) -> None:
    folder = make(tmp_path / "birds", {"owl": 150, "wren": 0})
    for i in range(broken):
        (folder / "wren" / f"{i}.png").write_bytes(b"")
    with pytest.raises(BadInput) as caught:
        prepare(f"images:{folder}", size=8, root=tmp_path / "data")
    assert str(caught.value) == f"each class must have a readable image, but 'wren' has none of {broken}: add images or take the class out"


def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = make(tmp_path / "birds", {"owl": 1, "wren": 1})
    raw = os.fsencode(folder / "owl") + b"/\xff\xfe.png"
    Path(os.fsdecode(raw)).write_bytes((folder / "owl" / "0.png").read_bytes())
    assert len(prepare(f"images:{folder}", size=8, root=tmp_path / "data").images) == 3


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    folder = make(tmp_path / ("b" * 250), {"owl": 2, "wren": 2})
    dataset = prepare(f"images:{folder}", size=8, root=tmp_path / "data")
    assert dataset.name == f"images-{'b' * 60}"
    assert dataset.path.name == f"{dataset.name}-8px-{dataset.fingerprint}"


def test_check_source_reads_no_image(tmp_path: Path) -> None:
    folder = make(tmp_path / "birds", {"owl": 0, "wren": 0})
    check_source(f"images:{folder}", None)

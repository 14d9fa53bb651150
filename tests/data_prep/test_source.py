"""The registry, and every source's contract."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import data_prep
from data_prep import BadInput, check_source, prepare, source_names
from data_prep.core.source import Source

ROOT = Path(__file__).parents[2]
FILES = sorted(path.stem for path in (ROOT / "data_prep").glob("*.py") if path.stem != "__init__")


def test_the_files_are_the_registry() -> None:
    assert [name.partition(":")[0] for name, _ in source_names()] == [stem.replace("_", "-") for stem in FILES]
    assert dict(source_names())["images:PATH"] == "a folder of your own, one sub-folder a class"


@pytest.mark.parametrize("stem", FILES)
def test_every_source(stem: str) -> None:
    module = __import__(f"data_prep.{stem}", fromlist=["SOURCE"])
    assert isinstance(module.SOURCE, Source)
    assert module.SOURCE.summary
    assert "\n" not in module.SOURCE.summary
    front_page = module.__doc__ or ""
    for fact in ("Where from:", "Licence:", "Size:", "Layout:"):
        assert fact in front_page, fact


@pytest.mark.parametrize("stem", FILES)
def test_a_missing_source_is_refused_before_work(stem: str, tmp_path: Path) -> None:
    name = f"{stem.replace('_', '-')}{':' + str(tmp_path) if stem == 'images' else ''}"
    with pytest.raises(BadInput) as caught:
        check_source(name, str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_new_file_is_a_new_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own.py").write_text(
        "from data_prep.digits import _find\nfrom data_prep.core.source import Source\nSOURCE = Source('mine', _find)\n"
    )
    monkeypatch.setattr(data_prep, "__path__", [*data_prep.__path__, str(tmp_path)])
    assert ("my-own", "mine") in source_names()
    assert data_prep.prepare("my-own", size=8, root=tmp_path / "data").name == "my-own"


def test_listing_imports_nothing_slow() -> None:
    code = "import sys, data_prep; data_prep.source_names(); print(*({'sklearn', 'scipy', 'pandas', 'requests', 'tensorflow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("images:~nosuchuser", None, "Could not determine home directory."),
        ("images:" + "a" * 300, None, "[Errno 36] File name too long: '" + "a" * 300 + "'"),
        ("cifar10", "~nosuchuser", "Could not determine home directory."),
        ("tiny-imagenet", "a" * 300, "[Errno 36] File name too long: '" + "a" * 300 + "'"),
        ("fashion-mnist", "~nosuchuser", "Could not determine home directory."),
    ],
)
def test_a_path_that_cannot_be_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str | None, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as refused:
        prepare(name, size=8, root=tmp_path / "data", source=source)
    where = source or name.partition(":")[2]
    assert str(refused.value) == f"a data set's source must be a path that can be looked up, but '{where}' cannot ({reason}): check it"
    assert not (tmp_path / "data").exists()


def test_a_link_to_nowhere_in_a_source(tmp_path: Path) -> None:
    (tmp_path / "cifar").mkdir()
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"):
        (tmp_path / "cifar" / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"^a source's files must be there, but '.*/cifar/.*' is not: mend or remove it$"):
        prepare("cifar10", size=8, root=tmp_path / "data", source=str(tmp_path / "cifar"))

"""Pictures that are handed over in the browser: only pictures are kept, under plain names, whole or not at all."""

import io
from pathlib import Path

import pytest

from common.errors import UserError
from studio import pictures
from studio.workspace import mended_name, plain_name
from tests.tiny_data import jpeg


class Handed(io.BytesIO):
    """As Streamlit hands a file over."""

    def __init__(self, name: str, content: bytes | None = None, size: int | None = None) -> None:
        content = jpeg(0, (8, 8)) if content is None else content
        super().__init__(content)
        self.name, self.size = name, len(content) if size is None else size


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_question_is_kept_under_plain_names() -> None:
    names = ["a b.JPG", "../../etc/pass;wd.png", "*.jpg", "Größe.jpeg", "C:\\x\\cat.png"]
    paths = pictures.keep_asked([Handed(name) for name in names], Path("asked"))
    assert [path.name for path in paths] == ["1-a_b.jpg", "2-pass_wd.png", "3-_.jpg", "4-Größe.jpeg", "5-cat.png"]
    assert files_of(Path()) == {str(path) for path in paths}


@pytest.mark.parametrize(
    ("handed", "message"),
    [
        ([Handed("a.jpg")] * 9, "9 pictures: at most 8 at once"),
        ([Handed("a.jpg", size=21 * 2**20)], "a.jpg: 21 MB; at most 20 MB for a picture"),
        ([Handed("a.exe")], "a.exe: not the name of a picture"),
        ([Handed("a")], "a: not the name of a picture"),
    ],
)
def test_a_question_that_is_too_large_is_refused(handed: list[Handed], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pictures.keep_asked(handed, Path("asked"))
    assert not Path("asked").exists()


def test_a_folder_is_kept_with_its_classes() -> None:
    names = [
        "pets/cat/1.jpg", "pets/cat/2.JPG", "pets/dog/1.png", "pets/dog/notes.txt", "pets/.DS_Store",
        "pets/__MACOSX/cat/1.jpg", "pets/dog/Thumbs.db", "pets/cover.jpg", "pets/dog/-what?.jpg",
    ]  # fmt: skip
    found = pictures.sort_folder([Handed(name) for name in names])
    assert found.left_out == ["pets/dog/notes.txt", "pets/cover.jpg"]
    assert pictures.keep_folder("my pets", found) == Path("datasets/my pets")
    assert files_of(Path("datasets")) == {
        ".studio.lock", *(f"my pets/{name}" for name in ("cat/1.jpg", "cat/2.JPG", "dog/1.png", "dog/_-what_.jpg"))
    }  # fmt: skip
    with pytest.raises(UserError, match="there is one already"):
        pictures.keep_folder("my pets", found)
    with pytest.raises(UserError, match="use letters"):
        pictures.keep_folder("../away", found)


def test_folders_for_training_and_validation_are_kept() -> None:
    names = [f"x/y/{split}/{c}/1.jpg" for split in ("train", "val") for c in ("a", "b")]
    found = pictures.sort_folder([Handed(name) for name in names])
    assert {str(path) for path in found.pictures} == {f"{s}/{c}/1.jpg" for s in ("train", "val") for c in ("a", "b")}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/../../b/1.jpg", "a/c/1.jpg"], "leads out of the folder"),
        (["/etc/a/1.jpg", "b/1.jpg"], "leads out of the folder"),
        (["a\\..\\..\\b\\1.jpg", "a/c/1.jpg"], "leads out of the folder"),
        (["a/c/1.jpg", "a/c/ 1.jpg", "a/d/1.jpg"], "another file would have the same name"),
        (["1.jpg", "2.jpg"], "a folder for each class"),
        (["a/1.jpg", "a/2.jpg"], "a folder for each class"),
        (["x/a/1.jpg", "x/2.jpg"], "a folder for each class"),
        (["a/b/1.txt", "a/c/1.txt"], "a folder for each class"),
        ([], "a folder for each class"),
    ],
)
def test_a_folder_that_leads_elsewhere_or_has_no_classes_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pictures.keep_folder("mine", pictures.sort_folder([Handed(name) for name in names]))
    assert files_of(Path()) <= {"datasets/.studio.lock"}


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "con.jpg", "a?b*.jpg", "\x07.jpg", "-rf.jpg", "Größe.jpg"])
def test_a_name_that_was_mended_can_be_used(name: str) -> None:
    kept = mended_name(name)
    assert plain_name(kept) == kept
    assert kept.endswith(".jpg")


def test_a_folder_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    handed = [Handed(f"a/{c}/1.jpg", size=15 * 2**20) for c in "bc"]
    pictures.sort_folder(handed)
    with monkeypatch.context() as few:
        few.setattr(pictures, "MOST_PICTURES", 1)
        with pytest.raises(UserError, match="2 pictures: at most 1"):
            pictures.sort_folder(handed)
    monkeypatch.setattr(pictures, "MOST_OF_FOLDER", 2**24)
    with pytest.raises(UserError, match="2 pictures: at most"):
        pictures.sort_folder(handed)
    assert pictures.sort_folder([*handed[:1], Handed("a/c/1.jpg"), Handed("a/c/2.jpg", size=2**30)]).left_out == [
        "a/c/2.jpg"
    ]


def test_a_folder_is_there_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    found = pictures.sort_folder([Handed(f"a/{c}/{n}.jpg") for c in "bc" for n in range(3)])
    real, written = pictures._write, []

    def fail(path: Path, picture: Handed) -> None:
        if len(written) == 4:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        real(path, picture)

    monkeypatch.setattr(pictures, "_write", fail)
    with pytest.raises(OSError, match="No space left"):
        pictures.keep_folder("mine", found)
    assert files_of(Path()) == {"datasets/.studio.lock"}


def test_endings_are_those_of_pictures_that_are_read() -> None:
    assert {"jpg", "jpeg", "png", "webp", "gif"} <= set(pictures.endings())
    assert not {"txt", "svg", "pdf", "html"} & set(pictures.endings())

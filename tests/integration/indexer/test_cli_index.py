from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexer.commands.progress import IndexingBar
from indexer.pipeline import Outcome
from retrieval.collection import Collection, CollectionWriter
from retrieval.spaces.encoder import create

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def shell(*arguments: object) -> Ended:
    """`kvasir` as a person runs it."""
    script = "from retrieval.command_line import main; main()"
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr)


def kvasir(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object) -> Ended:
    """The same inside this process, where torch is loaded already."""
    from retrieval.command_line import main

    monkeypatch.setattr(sys, "argv", ["kvasir", *map(str, arguments)])
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    return Ended(int(ended.value.code or 0), out, err)


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    return lambda *arguments: kvasir(monkeypatch, capfd, *arguments)


@pytest.fixture
def data(gallery_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(gallery_folder, tmp_path / "data"))


@pytest.fixture(scope="module")
def without_images(tiny_spec: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with the space of a small encoder and nothing in it, so that converting is done once."""
    path = tmp_path_factory.mktemp("template") / "c"
    with CollectionWriter(path, create=True) as writer:
        create(writer, tiny_spec)
    return path


LAST = ("--encoder-features", "last")


@pytest.fixture
def made(run: Run, data: Path, tiny_spec: str, without_images: Path, tmp_path: Path) -> Path:
    """A collection of `data` in the space of a small encoder."""
    path = Path(shutil.copytree(without_images, tmp_path / "c"))
    ended = run("index", data, path, "--encoder", tiny_spec, "--json")
    assert ended.status == 0, ended.err
    assert ended.json["added"] == 26
    return path


def files(path: Path) -> dict[str, tuple[int, str | None]]:
    collection = Collection.open(path)
    return {
        file: (int(i), collection.class_of(int(i)))
        for i, file in zip(collection.images.ids, collection.images.files, strict=True)
    }


def test_index_search_and_info_with_the_default_encoder_from_the_shell(run: Run, indexed: Any, tmp_path: Path) -> None:
    path = Path(shutil.copytree(indexed.path, tmp_path / "c"))
    again = shell("index", indexed.data, path)
    assert (again.status, again.out.startswith(f"{path}: 0 added, 26 unchanged")) == (0, True), again.err
    found = shell("search", indexed.data / "polyps" / "2.jpg", path, "-k", 3, "--json")
    assert found.status == 0, found.err
    assert found.json["hits"][0]["file"] == "polyps/2.jpg"
    table = run("search", 0, path, "-k", 4)
    assert table.out.splitlines()[-1].startswith("query is cecum: precision@4 ")
    facts = run("info", path, "--json").json
    assert facts["classes"] == {"cecum": 8, "polyps": 9, "pylorus": 8}
    assert (facts["images"], facts["unlabelled"], facts["clusters_of_duplicates"]) == (26, 1, 1)
    (space,) = facts["spaces"]  # a collection keeps the features that it was made with
    assert (space["name"], space["dimension"], space["distance"]) == ("tf_efficientnet_lite0", 1280, "cosine")
    assert (space["recipe"]["fit"], space["recipe"]["features"]) == ("field", "last")
    assert len(space["recipe"]["weights"]) == len(space["recipe"]["converted"]) == 64


def test_a_second_run_adds_nothing_and_keeps_every_id(run: Run, made: Path, data: Path) -> None:
    before = files(made)
    again = run("index", data, made, "--json")
    assert (again.status, again.json["added"], again.json["completed"], again.json["unchanged"]) == (0, 0, 0, 26)
    assert files(made) == before


def test_a_changed_file_is_replaced_under_a_new_id(
    run: Run, made: Path, data: Path, draw: Callable[..., Image.Image]
) -> None:
    before = files(made)
    draw(4321).save(data / "polyps" / "3.jpg")
    again = run("index", data, made, "--json")
    assert (again.status, again.json["added"], again.json["unchanged"]) == (0, 1, 25)
    after = files(made)
    assert after.pop("polyps/3.jpg") == (26, "polyps")
    assert after == {file: entry for file, entry in before.items() if file != "polyps/3.jpg"}


def test_a_new_date_on_the_same_bytes_changes_no_id(run: Run, made: Path, data: Path) -> None:
    before = files(made)
    os.utime(data / "polyps" / "3.jpg", (1, 1))
    assert run("index", data, made, "--json").json["added"] == 0
    assert files(made) == before
    assert run("index", data, made, "--json").json["unchanged"] == 26


def test_bad_pictures_are_listed_by_path_and_reason_and_the_run_goes_on(
    run: Run, data: Path, tiny_spec: str, without_images: Path, tmp_path: Path
) -> None:
    shutil.copytree(without_images, tmp_path / "c")
    good = (data / "polyps" / "1.jpg").read_bytes()
    bad = {"empty.jpg": b"", "cut.jpg": good[: len(good) // 2], "page.png": b"<html>404</html>", "cut.png": good[:3]}
    for name, content in bad.items():
        (data / "cecum" / name).write_bytes(content)
    (data / "cecum" / "mislabelled.png").write_bytes(good)
    ended = run("index", data, tmp_path / "c", "--encoder", tiny_spec, "--json")
    assert ended.status == 1
    assert ended.json["added"] == 27
    reasons = {entry["file"]: entry["reason"] for entry in ended.json["rejected"]}
    assert sorted(reasons) == sorted(f"cecum/{name}" for name in bad)
    assert "empty" in reasons["cecum/empty.jpg"]
    assert "truncated" in reasons["cecum/cut.jpg"]
    assert "not a picture" in reasons["cecum/page.png"]
    again = run("index", data, tmp_path / "c")
    assert again.status == 1
    assert "4 could not be used" in again.out
    assert "cecum/cut.jpg: damaged or truncated" in again.err


def test_nothing_but_bad_pictures_is_nothing_done(run: Run, without_images: Path, tmp_path: Path) -> None:
    shutil.copytree(without_images, tmp_path / "c")
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "x.jpg").write_bytes(b"")
    assert run("index", tmp_path / "data", tmp_path / "c").status == 2


def test_a_zip_is_read_in_place_and_gives_the_same(
    run: Run, made: Path, data: Path, without_images: Path, tmp_path: Path
) -> None:
    shutil.copytree(without_images, tmp_path / "z")
    path = tmp_path / "drawn.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(data.rglob("*.*")):
            archive.write(file, f"wrapped/{file.relative_to(data)}")
    before = sorted(tmp_path.iterdir())
    ended = run("index", path, tmp_path / "z", "--json")
    assert (ended.status, ended.json["added"]) == (0, 26)
    assert sorted(tmp_path.iterdir()) == before
    assert {f"wrapped/{file}": entry for file, entry in files(made).items()} == files(tmp_path / "z")
    ids, vectors = Collection.open(tmp_path / "z").vectors("test_vit-test_vit")
    assert vectors.tolist() == Collection.open(made).vectors("test_vit-test_vit")[1].tolist()
    assert Collection.open(tmp_path / "z").read(int(ids[0])) == (data / "cecum" / "0.jpg").read_bytes()
    assert run("index", path, tmp_path / "z", "--json").json["unchanged"] == 26


def test_a_second_encoder_can_come_later_and_the_first_is_not_run_again(
    run: Run, made: Path, data: Path, timm_weights: Callable[..., Path]
) -> None:
    first = (made / "vectors" / "test_vit-test_vit.float32").read_bytes()
    before = files(made)
    spec = f"timm:test_convnext/{timm_weights('test_convnext')}"
    later = run("index", data, made, "--encoder", spec, *LAST, "--json")
    assert (later.status, later.json["added"], later.json["completed"]) == (0, 0, 26)
    assert [space.name for space in Collection.open(made).spaces] == [
        "test_vit-test_vit",
        "test_convnext-test_convnext",
    ]
    assert (made / "vectors" / "test_vit-test_vit.float32").read_bytes() == first
    assert files(made) == before
    both = run("search", 3, made, "--space", "test_vit-test_vit", "--space", "test_convnext-test_convnext", "--json")
    assert both.status == 0
    assert len(both.json["hits"][0]["distances"]) == 2


def test_a_vector_does_not_depend_on_the_encoders_beside_it(
    run: Run, data: Path, tiny_spec: str, tiny_clip: Any, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    draw(77, size=(1400, 1000)).save(data / "cecum" / "large.jpg")
    clip = f"open_clip:local-dir:{tiny_clip.folder}"  # 64x64, so a smaller draft than the 160x160 of the other
    assert run("index", data, tmp_path / "alone", "--encoder", clip, *LAST).status == 0
    assert run("index", data, tmp_path / "both", "--encoder", clip, "--encoder", tiny_spec, *LAST).status == 0
    alone = Collection.open(tmp_path / "alone").vectors("tiny-folder")[1]
    both = Collection.open(tmp_path / "both").vectors("tiny-folder")[1]
    assert abs(alone - both).max() < 1e-6  # type: ignore[operator]


def test_a_picture_in_another_class_folder_is_a_new_image_and_the_old_one_can_be_removed(
    run: Run, made: Path, data: Path
) -> None:
    (data / "polyps" / "5.jpg").rename(data / "cecum" / "was a polyp.jpg")
    assert run("index", data, made, "--json").json["added"] == 1
    assert files(made)["cecum/was a polyp.jpg"] == (26, "cecum")
    removed = run("remove", made, "--missing")
    assert removed.status == 0
    assert "polyps/5.jpg" not in files(made)
    assert len(files(made)) == 26


def test_unlabelled_pictures_are_indexed_without_a_class(
    run: Run, without_images: Path, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    shutil.copytree(without_images, tmp_path / "c")
    (tmp_path / "data").mkdir()
    for number in range(3):
        draw(number).save(tmp_path / "data" / f"{number}.png")
    ended = run("index", tmp_path / "data", tmp_path / "c", "--json")
    assert (ended.status, ended.json["dataset"]["unlabelled"]) == (0, 3)
    found = run("search", 0, tmp_path / "c", "--json")
    assert found.json["quality"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nosuchcommand",),
        ("index", "only one"),
        ("search", "0"),
        ("index", "{tmp}/nowhere", "{tmp}/n"),
        ("index", "{data}", "{data}"),
        ("index", "{data}", "{tmp}/n", "--encoder", "keras:x"),
        ("index", "{data}", "{tmp}/n", "--encoder", "timm:test_vit//no/where.pt"),
        ("index", "{data}", "{tmp}/a file/n", "--encoder", "timm:test_vit//no/where.pt"),
        ("index", "{data}", "{tmp}/n", "--descriptors", "JCD,SIFT"),
        ("add", "{c}", "{data}", "--class", ""),
        ("add", "{c}", "{data}", "--class", "two\nlines"),
        ("evaluate", "{c}", "--seed", "-1"),
        ("info", "{tmp}/nowhere"),
        ("verify", "{tmp}/nowhere"),
        ("verify", "{data}"),
        ("search", "0", "{tmp}/nowhere"),
        ("search", "999", "{c}"),
        ("search", "{tmp}/nowhere.jpg", "{c}"),
        ("search", "0", "{c}", "-k", "0"),
        ("search", "0", "{c}", "--space", "nowhere"),
        ("search", "0", "{c}", "--class", "nothing"),
        ("search", "0", "{c}", "--query-class", "polips"),
        ("search", "{data}/polyps/1.jpg", "{c}", "--exclude-cluster"),
    ],
)
def test_wrong_use_is_status_2_and_a_line_that_says_why(
    arguments: tuple[str, ...], run: Run, indexed: Any, gallery_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "a file").write_text("")
    ended = run(*(text.format(tmp=tmp_path, c=indexed.path, data=gallery_folder) for text in arguments))
    assert ended.status == 2
    assert ended.err.strip()
    assert "Traceback" not in ended.err
    assert not (tmp_path / "n").exists()  # a slip of the pen begins no collection
    if arguments[:1] == ("verify",):
        assert "is not a collection" in ended.err


def test_a_slip_in_the_querys_class_names_the_nearest(run: Run, made: Path, data: Path) -> None:
    refused = run("search", data / "polyps" / "1.jpg", made, "--query-class", "polips")
    assert (
        "no image is of the class 'polips' (did you mean polyps?); the classes: cecum, polyps, pylorus" in refused.err
    )


def test_distances_of_every_size_stand_in_one_column(run: Run, made: Path, data: Path) -> None:
    table = run("search", data / "polyps" / "2.jpg", made, "-k", "4").out.splitlines()
    assert table[1].split()[2:5] == ["polyps", "1.0000", "0.0000"]
    place = table[0].index("distance")
    for line in table[1:5]:
        assert re.fullmatch(r" +\d+\.\d{4}", line[place : place + len("distance")]), line


def test_no_empty_lines_where_stderr_is_no_terminal(run: Run, made: Path, data: Path, tmp_path: Path) -> None:
    draws_bars = [
        run("index", data, made),
        run("index", data, made, "--encoder", "timm:nonexistent"),
        run("add", made, data / "polyps" / "2.jpg"),
        run("search", "--batch", data, "--out", tmp_path / "run.csv", made),
        run("features", data, tmp_path / "features"),
        run("evaluate", made, "--samples", "0", "--json"),
        run("evaluate", made, "--space", "nowhere"),
    ]
    assert [ended.status for ended in draws_bars] == [0, 2, 0, 0, 0, 0, 2]
    for ended in draws_bars:
        assert "" not in ended.err.splitlines(), ended.err


def test_a_name_with_a_line_break_is_one_line_of_a_list(run: Run, made: Path, data: Path) -> None:
    (data / "cecum" / "two\nlines.jpg").write_bytes(b"")
    (data / "cecum" / "copy\n.jpg").write_bytes((data / "cecum" / "1.jpg").read_bytes())
    ended = run("index", data, made)
    assert "  cecum/two\\nlines.jpg: the file is empty (0 bytes)" in ended.err.splitlines()
    assert "  26  cecum/copy\\n.jpg  =  1  cecum/1.jpg" in ended.out.splitlines()
    assert any(line.endswith("  cecum/copy\\n.jpg") for line in run("search", "1", made).out.splitlines())
    assert any(line.endswith("  cecum/copy\\n.jpg") for line in run("duplicates", made).out.splitlines())


def test_one_of_a_thing_is_not_told_as_many(run: Run, made: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "one" / "a").mkdir(parents=True)
    shutil.copy(data / "polyps" / "1.jpg", tmp_path / "one" / "a")
    told = run("add", made, tmp_path / "one")
    assert "  1 picture, 1 class\n" in told.err
    assert "` takes it out\n" in told.out
    (tmp_path / "one" / "a" / "1.jpg").rename(tmp_path / "one" / "a" / "2.jpg")
    assert "1 image of the collection is no longer in " in run("index", tmp_path / "one", made).out
    assert run("remove", made, *range(1, 28)).out.endswith("1 image left\n")
    assert run("duplicates", made).out == "near duplicates: none\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe, so that the command waits")
def test_ctrl_c_ends_a_search_without_a_word_of_what_was_stored(indexed: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    # A shell starts what runs in the background with the signal ignored.
    handled = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{handled}; from retrieval.command_line import main; main()"
    command = [sys.executable, "-c", program, "search", tmp_path / "pipe.jpg", indexed.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        with (tmp_path / "pipe.jpg").open("wb"):  # waits until the command reads
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.strip() == "kvasir: interrupted"


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ([], "stopped before any picture was stored\n"),
        ([Outcome(unchanged=4)], "stopped before any picture was stored\n"),
        ([Outcome(added=1)], "stopped; 1 picture stored, and the same command continues from there\n"),
        ([Outcome(added=3, completed=2), Outcome(added=1)], "stopped; 6 pictures stored, and the same command"),
    ],
)
def test_ctrl_c_says_how_many_pictures_an_indexing_has_stored(
    outcomes: list[Outcome], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = IndexingBar(9)
    for outcome in outcomes:
        bar.advance(outcome)
    bar.__exit__(KeyboardInterrupt)
    assert capsys.readouterr().err.startswith(said)


def test_a_second_writer_is_refused_with_a_clear_message(run: Run, made: Path, data: Path) -> None:
    with CollectionWriter(made):
        ended = run("index", data, made)
    assert ended.status == 2
    assert "another process is writing to" in ended.err


def test_copies_that_are_added_are_named_with_what_they_are_copies_of(run: Run, made: Path, data: Path) -> None:
    told = run("add", made, data / "polyps" / "2.jpg", data / "polyps" / "1.jpg", "--class", "polyps")
    assert told.status == 0
    ids = {file: i for file, (i, _) in files(made).items()}
    assert "copies, byte for byte, of other images of the collection: 2\n" in told.out
    assert f"  {ids['2.jpg']}  2.jpg  =  " in told.out
    assert f"`kvasir remove {made} {ids['1.jpg']} {ids['2.jpg']}` takes them out" in told.out
    assert run("remove", made, ids["2.jpg"], ids["1.jpg"]).status == 0
    as_json = run("add", made, data / "polyps" / "2.jpg", "--json").json
    assert [(copy["file"], copy["copy_of_file"]) for copy in as_json["copies"]] == [("2.jpg", "polyps/2.jpg")]
    assert run("index", data, made, "--json").json["copies"] == []


def test_a_file_that_is_added_again_keeps_its_class_and_id_and_another_class_is_said(
    run: Run, made: Path, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    draw(800).save(tmp_path / "a.jpg")
    assert "replaced" not in run("add", made, tmp_path / "a.jpg", "--class", " polyps ").out
    again = run("add", made, tmp_path / "a.jpg", "--json").json
    assert (again["added"], again["unchanged"]) == (0, 1)
    assert files(made)["a.jpg"] == (26, "polyps")
    draw(801).save(tmp_path / "a.jpg")
    assert ": 1 added (1 replaced: other class or content) in" in run("add", made, tmp_path / "a.jpg").out
    assert files(made)["a.jpg"] == (27, "polyps")
    other = run("add", made, tmp_path / "a.jpg", "--class", "cecum", "--json").json
    assert (other["added"], other["replaced"]) == (1, 1)
    assert files(made)["a.jpg"] == (28, "cecum")


def test_bad_paths_are_listed_and_the_others_are_added(
    run: Run, made: Path, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    for folder in ("new/polyps", "newer/cecum", "empty"):
        (tmp_path / folder).mkdir(parents=True)
    for number, file in enumerate(("new/polyps/a.jpg", "newer/cecum/b.jpg", "c.jpg")):
        draw(700 + number).save(tmp_path / file)
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    bad = [tmp_path / name for name in ("empty", "bad.zip", "nowhere", "nowhere.jpg")]
    good = [tmp_path / name for name in ("new", "newer", "c.jpg")]
    told = run("add", made, bad[0], good[0], bad[1], good[1], bad[2], good[2], bad[3])
    assert told.status == 1
    assert told.out.count(": 1 added from ") == 3
    assert told.err.count("space test_vit-test_vit: ") == 1
    listed = told.err[told.err.index("4 could not be added:\n") :].splitlines()[1:]
    assert [line.split(": ")[0].strip() for line in listed] == list(map(str, bad))
    assert {file: held[1] for file, held in files(made).items() if held[0] >= 26} == {
        "polyps/a.jpg": "polyps",
        "cecum/b.jpg": "cecum",
        "c.jpg": None,
    }
    as_json = run("add", made, good[0], bad[0], "--json")
    assert (as_json.status, as_json.json[0]["unchanged"], as_json.json[1]["path"]) == (1, 1, str(bad[0]))
    assert as_json.json[1]["reason"].startswith("no pictures (")
    nothing = run("add", made, *bad)
    assert (nothing.status, nothing.out) == (2, "")
    assert "4 could not be added:" in nothing.err


def test_what_moved_is_kept_where_it_is_now_and_only_the_old_entries_are_to_be_removed(
    run: Run, made: Path, data: Path, tmp_path: Path
) -> None:
    (data / "polyps").rename(data / "lesions")  # within one source
    told = run("index", data, made)
    assert (told.status, "9 added" in told.out) == (0, True)
    assert "9 images of the collection are no longer in" in told.out
    assert "9 of the added pictures were in the collection before" in told.out
    assert told.out.count("`kvasir remove ") == 1
    assert f"`kvasir remove {made} --missing` takes out what is no longer there" in told.out
    assert run("remove", made, "--gone").status == 0
    assert len(files(made)) == 26
    before = Collection.open(made).images.ids.tolist()
    data.rename(tmp_path / "moved")  # the source itself
    moved = run("index", tmp_path / "moved", made)
    assert (moved.status, "26 of the added pictures were in the collection before" in moved.out) == (0, True)
    assert "--missing" not in moved.out
    assert f"`kvasir remove {made} --source {data}` takes out all that was indexed there" in moved.out
    assert run("remove", made, "--source", data, "--json").json["removed"] == before
    assert len(files(made)) == 26
    assert [source["path"] for source in run("info", made, "--json").json["sources"]] == [str(tmp_path / "moved")]


def test_commands_that_are_suggested_can_be_pasted(
    run: Run, data: Path, tiny_spec: str, without_images: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(without_images, tmp_path / "my collection"))
    (data / "polyps" / "3.jpg").write_bytes((data / "cecum" / "1.jpg").read_bytes())
    made = run("index", data, path)
    # in a new collection as well: two pictures of one run
    assert "copies, byte for byte, of other images of the collection: 2\n" in made.out
    assert f"`kvasir remove '{path}' " in made.out
    assert f"`kvasir duplicates '{path}'` lists them" in made.out


def test_no_empty_collection_is_left_by_a_run_that_fails(
    run: Run, data: Path, tiny_spec: str, timm_weights: Callable[..., Path], tmp_path: Path
) -> None:
    wrong = f"timm:test_convnext/{timm_weights('test_vit')}"
    ended = run("index", data, tmp_path / "new", "--encoder", tiny_spec, "--encoder", wrong)
    assert ended.status == 2
    assert "these weights are not of test_convnext" in ended.err
    (tmp_path / "bad" / "a").mkdir(parents=True)
    (tmp_path / "bad" / "a" / "x.jpg").write_bytes(b"")
    ended = run("index", tmp_path / "bad", tmp_path / "new", "--encoder", tiny_spec)
    assert (ended.status, "1 could not be used" in ended.out) == (2, True)
    assert not (tmp_path / "new").exists()


def test_searching_an_empty_collection_says_that_it_is_empty(run: Run, without_images: Path) -> None:
    ended = run("search", "0", without_images)
    assert ended.status == 2
    assert "is empty; `kvasir index DATA " in ended.err


def test_weights_that_were_overwritten_are_never_mixed_with_those_that_made_a_space(
    run: Run, data: Path, timm_weights: Callable[..., Path], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = Path(shutil.copyfile(timm_weights("test_vit"), tmp_path / "w.safetensors"))
    spec = f"timm:test_vit/{weights}"
    path = tmp_path / "c"
    assert run("index", data, path, "--encoder", spec, *LAST).status == 0
    before = (path / "vectors" / "test_vit-w.float32").read_bytes()

    os.utime(weights, (1, 1))  # another date, the same weights: the space goes on
    again = run("index", data, path, "--encoder", spec, "--json")
    assert (again.status, again.json["unchanged"], again.json["spaces"]) == (0, 26, ["test_vit-w"])

    save_file({name: tensor + torch.ones_like(tensor) for name, tensor in load_file(weights).items()}, weights)
    refused = run("index", data, path, "--encoder", spec)
    assert refused.status == 2
    assert f"{weights} was changed since it made the space 'test_vit-w'" in refused.err
    assert "give the new one a path of its own" in refused.err
    assert (path / "vectors" / "test_vit-w.float32").read_bytes() == before
    weights.rename(tmp_path / "other.safetensors")  # as it says
    both = run("index", data, path, "--encoder", f"timm:test_vit/{tmp_path / 'other.safetensors'}", *LAST, "--json")
    assert (both.status, both.json["completed"]) == (0, 26)
    assert [space.name for space in Collection.open(path).spaces] == ["test_vit-w", "test_vit-other"]
    # the first space's weights are gone, its converted encoder is not
    assert run("index", data, path, "--encoder", spec, "--json").json["unchanged"] == 26
    assert run("search", data / "polyps" / "2.jpg", path, "--space", "TEST_VIT-w").status == 0


def test_weights_named_from_here_that_are_gone_are_not_missed_where_their_space_exists(
    run: Run, data: Path, timm_weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(timm_weights("test_vit"), "w.safetensors")
    assert run("index", data, "c", "--encoder", "timm:test_vit/w.safetensors").status == 0
    Path("w.safetensors").unlink()
    again = run("index", data, "c", "--encoder", "timm:test_vit/w.safetensors", "--json")
    assert (again.status, again.json["unchanged"]) == (0, 26), again.err


def test_an_encoder_that_is_named_twice_makes_one_space(run: Run, data: Path, tiny_spec: str, tmp_path: Path) -> None:
    ended = run("index", data, tmp_path / "c", "--encoder", tiny_spec, "--encoder", tiny_spec, "--json")
    assert (ended.status, ended.json["spaces"]) == (0, ["test_vit-test_vit-multi"])
    components = Collection.open(tmp_path / "c").manifest.default
    assert components is not None
    assert components.recipe["replaces"] == "test_vit-test_vit-multi"


def test_as_many_components_are_searched_as_asked_for_when_the_space_was_made_and_after_a_refit(
    run: Run, data: Path, tiny_spec: str, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    assert run("index", data, path, "--encoder", tiny_spec, "--components", "5").status == 0
    assert run("index", data, path, "--components", "5").status == 0
    for encoder in ((), ("--encoder", tiny_spec)):
        refused = run("index", data, path, "--components", "6", *encoder)
        assert (refused.status, "was made with components 5, not 6" in refused.err) == (2, True)
    for _ in range(2):
        statistics, components = Collection.open(path).spaces
        assert (components.dimension, components.recipe["dimension"]) == (5, 5)
        assert statistics.dimension > 5
        assert run("refit", path, components.name).status == 0


def test_components_of_a_last_layer_are_refused(run: Run, data: Path, tiny_spec: str, tmp_path: Path) -> None:
    ended = run("index", data, tmp_path / "c", "--encoder", tiny_spec, *LAST, "--components", "5")
    assert (ended.status, "has no principal components" in ended.err) == (2, True)


def test_another_fit_is_refused_where_the_space_exists(run: Run, made: Path, data: Path, tiny_spec: str) -> None:
    for encoder in ((), ("--encoder", tiny_spec)):
        ended = run("index", data, made, "--fit", "pad", *encoder)
        assert (ended.status, "was made with --fit field" in ended.err) == (2, True)
        assert run("index", data, made, "--fit", "field", *encoder).status == 0


def test_boxes_of_the_device_are_filled_where_that_is_asked_and_never_by_a_space_that_keeps_them(
    run: Run, made: Path, data: Path, tiny_spec: str, tmp_path: Path
) -> None:
    ended = run("index", data, made, "--marks", "fill")
    assert (ended.status, "was made with marks keep, not fill" in ended.err) == (2, True)
    assert run("index", data, tmp_path / "filled", "--encoder", tiny_spec, "--marks", "fill").status == 0
    assert {space.recipe.get("marks") for space in Collection.open(tmp_path / "filled").spaces} == {"fill", None}
    assert "boxes of the device filled" in run("info", tmp_path / "filled").out


def test_marks_that_an_older_version_did_not_look_for_come_with_the_next_run(run: Run, made: Path, data: Path) -> None:
    with closing(sqlite3.connect(made / "catalog.sqlite")) as catalog:
        catalog.executescript("DROP TRIGGER marks_removed; DROP TRIGGER log_marked; DROP TABLE marks;")
    before = Collection.open(made).images
    assert set(before.marks.tolist()) == {-1}
    assert run("info", made, "--json").json["marks"] == {"unknown": len(before)}
    ended = run("index", data, made, "--json").json
    assert (ended["added"], ended["unchanged"]) == (0, len(before))
    after = Collection.open(made).images
    assert min(after.marks.tolist()) >= 0
    assert after.checksums.tolist() == before.checksums.tolist()


def test_a_line_break_in_a_class_breaks_no_list(run: Run, made: Path, data: Path) -> None:
    (data / "polyps").rename(data / "flat\npolyps")
    assert run("index", data, made).status == 0
    told = run("info", made).out.splitlines()
    assert [line.split() for line in told if "flat" in line] == [["flat\\npolyps", "9"]]
    table = run("search", data / "flat\npolyps" / "2.jpg", made, "-k", 2).out.splitlines()
    assert len(table) == 4
    assert any(r" flat\npolyps  " in line for line in table)


def test_info_is_for_people_too(run: Run, made: Path) -> None:
    text = run("info", made).out
    assert "  frames cut to the field of view and squashed to 160x160 (" in text
    assert "  encoder timm:test_vit/" in text
    assert "{" not in text
    assert "[" not in text


def test_nothing_is_added_by_a_damaged_encoder_and_it_can_be_repaired(
    run: Run, made: Path, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    tower = made / "encoders" / "test_vit-test_vit" / "tower.bin"
    data = bytearray(tower.read_bytes())
    for place in range(len(data) // 2, len(data) // 2 + 8):
        data[place] ^= 255
    tower.write_bytes(data)
    draw(55).save(tmp_path / "new.jpg")
    refused = run("add", made, tmp_path / "new.jpg")
    assert (refused.status, refused.out) == (2, "")
    assert f"test_vit-test_vit is damaged; `kvasir verify --repair {made}` converts it anew" in refused.err
    assert len(files(made)) == 26
    assert run("verify", made, "--repair").status == 0
    assert run("add", made, tmp_path / "new.jpg", "--json").json["added"] == 1
    found = run("search", tmp_path / "new.jpg", made, "-k", "1", "--json").json["hits"][0]
    assert (found["id"], found["score"] > 0.9999) == (26, True)


def test_a_damaged_member_of_a_zip_is_named_once_with_its_reason(
    run: Run, data: Path, without_images: Path, tmp_path: Path
) -> None:
    shutil.copytree(without_images, tmp_path / "c")
    path = tmp_path / "drawn.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("1.jpg", "2.jpg"):
            archive.write(data / "polyps" / name, f"polyps/{name}")
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 255
    path.write_bytes(content)
    ended = run("index", path, tmp_path / "c", "--json")
    assert (ended.status, ended.json["added"]) == (1, 1)
    reason = "damaged inside drawn.zip (its CRC-32 differs)"
    assert ended.json["rejected"] == [{"file": "polyps/1.jpg", "reason": reason}]


def test_swapped_arguments_of_every_command_are_told_and_nothing_is_written(run: Run, made: Path, data: Path) -> None:
    picture = data / "polyps" / "2.jpg"
    before = files(made)
    for command, *arguments in (
        ("search", made, picture),
        ("search", made, 5),
        ("index", made, data),
        ("add", picture, made),
        ("remove", 3, made),
        ("key", "revoke", "abc", made),
        ("key", made, "create"),
        ("export", data.parent / "new", made),
        ("learn", "findings", made),
        ("refit", "findings", made),
        ("finetune", "new.safetensors", made),
        ("backup", data.parent / "new.tar", made),
        ("restore", made, data.parent / "new.tar"),
        ("search", "--batch", made, "--out", "o.csv", data),
    ):
        ended = run(command, *arguments)
        assert ended.status == 2, command
        assert f"{made} is " in ended.err, command
        assert "which comes " in ended.err, command
    assert files(made) == before
    assert "Traceback" not in run("search", picture).err


def test_the_command_that_was_meant_is_complete(run: Run, made: Path, data: Path, tmp_path: Path) -> None:
    def told(*arguments: object) -> str:
        ended = run(*arguments)
        assert ended.status == 2
        return str(ended.err)

    features = tmp_path / "features"
    assert f"`kvasir search --batch {data} {made} --out o.csv`" in told(
        "search", "--batch", made, "--out", "o.csv", data
    )
    assert f"`kvasir key create {made} --name x`" in told("key", made, "create", "--name", "x")
    assert f"`kvasir key list {made}`" in told("key", made)
    assert f"`kvasir export {made} {tmp_path / 'out'}`" in told("export", tmp_path / "out", made)
    assert f"`kvasir learn {made} findings`" in told("learn", "findings", made)
    assert f"{features} does not exist; DATA comes first" in told("features", features, data)
    assert f"`kvasir features {data} {features}`" in told("features", features, data)
    assert f"{made} is a collection" in told("features", data, made)
    assert f"{made} is the collection, and is given twice" in told("index", made, made)
    assert "is not a collection" in told("learn", tmp_path / "nowhere", "findings")


def test_a_web_address_is_told_as_what_it_is_by_every_command(run: Run, made: Path, data: Path) -> None:
    address = "http://x.example/y.jpg"
    for arguments in (
        ("search", address, made),
        ("search", 5, address),
        ("search", "--batch", address, "--out", "o.csv", made),
        ("index", address, made),
        ("index", data, address),
        ("index", data, made, "--features", address),
        ("add", made, address),
        ("info", address),
        ("evaluate", address),
        ("serve", address),
    ):
        ended = run(*arguments)
        assert ended.status == 2, arguments
        assert f"{address} is a web address" in ended.err, arguments


def test_spaces_are_named_by_repeating_or_by_commas(run: Run, made: Path, data: Path) -> None:
    assert run("index", data, made, "--descriptors", "JCD", "--descriptors", "tamura,phog").status == 0
    assert [space.name for space in Collection.open(made).spaces[1:]] == ["JCD", "Tamura", "PHOG"]
    repeated = run("search", 3, made, "--space", "JCD", "--space", "Tamura", "--json").json
    assert repeated["spaces"] == ["JCD", "Tamura"]
    assert run("search", 3, made, "--space", "jcd,tamura", "--json").json == repeated
    assert run("search", 3, made, "--space", "JCD, nosuch").status == 2


def test_a_space_of_any_kind_is_made_by_its_kind_and_spec(run: Run, data: Path, tiny_spec: str, tmp_path: Path) -> None:
    asked = ("index", data, tmp_path / "c", "--space", f"encoder:{tiny_spec}", "--space", "descriptor:JCD", "--json")
    first = run(*asked)
    assert (first.status, first.json["added"]) == (0, 26), first.err
    assert [space.name for space in Collection.open(tmp_path / "c").spaces] == ["test_vit-test_vit", "JCD"]
    assert {len(Collection.open(tmp_path / "c").ids(name)) for name in ("test_vit-test_vit", "JCD")} == {26}
    again = run(*asked)
    assert (again.status, again.json["unchanged"]) == (0, 26), again.err
    assert run("search", 3, tmp_path / "c", "--space", "JCD").status == 0
    for wrong, message in (
        ("colour:JCD", "no kind of space is called 'colour'"),
        ("JCD", "no kind of space is called 'JCD'"),
        ("descriptor:jpg", "jpg"),
        ("learned:x", "kvasir learn"),
    ):
        ended = run("index", data, tmp_path / "new", "--space", wrong)
        assert (ended.status, message in ended.err) == (2, True), ended.err
        assert not (tmp_path / "new").exists()


def test_add_names_each_new_image_and_what_it_is_a_copy_of(
    run: Run, made: Path, data: Path, draw: Any, encode_file: Any, tmp_path: Path
) -> None:
    original = Collection.open(made)
    first = next(i for i in original.images.ids.tolist() if original.file_of(i) == "cecum/3.jpg")
    new = tmp_path / "new"
    new.mkdir()
    (new / "copy.jpg").write_bytes((data / "cecum" / "3.jpg").read_bytes())
    (new / "other.jpg").write_bytes(encode_file(draw(4711), quality=90))
    with Image.open(data / "cecum" / "3.jpg") as picture:
        picture.save(new / "again.jpg", quality=60)
    told = run("add", made, *sorted(new.iterdir()))
    assert [line for line in told.out.splitlines() if line.startswith("image ")] == [
        f"image 26: again.jpg, a near duplicate of image {first}, cecum/3.jpg",
        f"image 27: copy.jpg, a copy of image {first}, cecum/3.jpg",
        "image 28: other.jpg",
    ]
    (new / "third.jpg").write_bytes((data / "cecum" / "3.jpg").read_bytes())
    assert run("add", made, new / "third.jpg", "--class", "polyps", "--json").json["images"] == [
        {"id": 29, "file": "third.jpg", "class": "polyps", "copy_of": {"id": first, "file": "cecum/3.jpg"}}
    ]
    with Image.open(data / "cecum" / "3.jpg") as picture:
        picture.save(new / "fourth.jpg", quality=70)
    (added,) = run("add", made, new / "fourth.jpg", "--json").json["images"]
    assert added["near_duplicate_of"]["id"] in (first, 26, 27, 29)


def test_a_file_that_does_not_exist_is_named_and_leaves_no_source(run: Run, made: Path, tmp_path: Path) -> None:
    told = run("add", made, tmp_path / "nosuch.jpg")
    assert told.status == 2
    assert f"{tmp_path / 'nosuch.jpg'}: no such file, folder or zip" in told.err
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"\xff\xd8 no picture")
    assert run("add", made, tmp_path / "broken" / "a.jpg").status == 2
    assert len(Collection.open(made).images.source_paths) == 1


def test_an_encoders_other_features_are_told_as_a_space_that_is_made_and_only_once(
    run: Run, made: Path, data: Path, tiny_spec: str
) -> None:
    told = f"loading the weights of {tiny_spec}"
    for expected in (True, False):
        ended = run("index", data, made, "--encoder", tiny_spec, "--encoder-features", "multi")
        assert ended.status == 0
        assert (told in ended.err) == expected
    names = [space.name for space in Collection.open(made).spaces]
    assert names[:2] == ["test_vit-test_vit", "test_vit-test_vit-multi"]

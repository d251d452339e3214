"""Fleet files: there and back, every way of being broken, and thousands of mutations."""

import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from efat import EfatError, SystolicArray
from efat.hardware.chip import Chip, Fleet
from efat.hardware.fleets import file_fleet, load_fleet, save_fleet, uniform_fleet
from efat.hardware.fleets.io import check_fleet_file

ARRAY = SystolicArray(5, 13)


@pytest.fixture
def fleet():
    return uniform_fleet(ARRAY, 0, 7, [0.05, 0.5])


def as_csv(fleet):
    lines = ["chip_id,row,col"]
    for chip in fleet:
        lines += [f"{chip.chip_id},{r},{c}" for r, c in np.argwhere(chip.fault_map.faulty)]
    return "\n".join(lines) + "\n"


def members(fleet, path):
    save_fleet(fleet, path)
    with np.load(path, allow_pickle=False) as content:
        return dict(content)


def refused(path, match, array=ARRAY):
    with pytest.raises(EfatError, match=match) as caught:
        load_fleet(path, array)
    assert all(str(path) in problem for problem in caught.value.problems)


def test_npz_npy_and_csv_come_back_the_same(fleet, tmp_path):
    save_fleet(fleet, tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", np.stack([chip.fault_map.faulty for chip in fleet]))
    (tmp_path / "a.csv").write_text(as_csv(fleet))
    for suffix in ("npz", "npy", "csv"):
        assert load_fleet(tmp_path / f"a.{suffix}", ARRAY) == fleet, suffix
    assert load_fleet(tmp_path / "a.npz") == load_fleet(tmp_path / "a.npy") == fleet
    refused(tmp_path / "a.csv", "no array given", array=None)
    assert file_fleet(ARRAY, 0, str(tmp_path / "a.npz")) == fleet


def test_a_csv_from_a_spreadsheet_is_read(fleet, tmp_path):
    text = as_csv(fleet).replace("\n", "\r\n")
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_fleet(tmp_path / "a.csv", ARRAY) == fleet


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_csv_may_have_blank_lines_spaces_and_capitals(fleet, tmp_path, end):
    header, *lines = as_csv(fleet).split()
    spaced = [line.replace(",", " , ") for line in lines]
    (tmp_path / "A.CSV").write_bytes(f"{end} {end}".join([header, *spaced, ""]).encode())
    assert load_fleet(tmp_path / "A.CSV", ARRAY) == fleet


def test_names_with_control_characters_are_refused(fleet, tmp_path):
    good = members(fleet, tmp_path / "good.npz")
    for name in ("a\0b", "a\nb", "\x1b[31mred"):
        with pytest.raises(EfatError, match="control characters"):
            Chip(name, fleet.chips[0].fault_map)
        ids = np.array([name, *good["chip_ids"][1:]])
        np.savez(tmp_path / "bad.npz", **(good | {"chip_ids": ids}))
        refused(tmp_path / "bad.npz", "control characters")
    assert Chip("Wafer 3, größe 5\u2009mm", fleet.chips[0].fault_map).chip_id


def test_a_zip_bomb_is_refused_before_it_is_unpacked(fleet, tmp_path):
    """Members whose size is true, and far beyond what the others say."""
    good, path = members(fleet, tmp_path / "good.npz"), tmp_path / "bomb.npz"
    size = 1 << 23
    for name, bomb in [
        ("shape", np.zeros(size, np.int64)),
        ("chip_ids", np.zeros(size, "U1")),
        ("chip_ids", np.zeros(7, f"U{size // 7}")),
        ("words", np.zeros(size, np.uint64)),
        ("sha256", np.zeros((), f"U{size}")),
    ]:
        np.savez_compressed(path, **(good | {name: bomb}))
        del bomb
        tracemalloc.start()
        refused(path, f"{name}")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < size, name
    far = {"shape": np.array([1 << 13, 1 << 13]), "words": np.zeros((7, 1 << 20), np.uint64)}
    np.savez_compressed(path, **(good | far))
    refused(path, "maps of 8192x8192 PEs; the array has 5x13")


def test_the_same_fleet_is_the_same_file(fleet, tmp_path, monkeypatch):
    a = members(fleet, tmp_path / "a.npz")
    monkeypatch.setattr("time.time", lambda: 2e9)
    members(fleet, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    renamed = Fleet((Chip("other", fleet.chips[0].fault_map), *fleet.chips[1:]))
    assert str(members(renamed, tmp_path / "c.npz")["sha256"]) != str(a["sha256"])


def test_npz_with_wrong_members_is_refused(fleet, tmp_path):
    good, path = members(fleet, tmp_path / "good.npz"), tmp_path / "bad.npz"
    twice = good["chip_ids"].copy()
    twice[1] = twice[0]
    flipped = good["words"].copy()
    flipped[2, 0] ^= np.uint64(1 << 60)
    beyond = good["words"].copy()
    beyond[0, 1] |= np.frombuffer(b"\0\0\0\0\0\0\0\1", np.uint64)[0]
    cases = [
        ({"chip_ids": twice}, "used 2 times"),
        ({"chip_ids": np.arange(7)}, "chip_ids of int64"),
        ({"chip_ids": good["chip_ids"][:3]}, "text"),
        ({"words": flipped}, "sha256: does not fit"),
        ({"words": beyond}, "bits beyond PE 64 are set"),
        ({"words": good["words"].astype(np.int64)}, "words of int64"),
        ({"words": good["words"][:, :1]}, "words of uint64"),
        ({"shape": np.array([13, 5, 1])}, "shape"),
        ({"shape": np.array([0, 5])}, "shape"),
        ({"shape": np.array([-5, -13])}, "shape"),
        ({"shape": np.array([5.0, 13.0])}, "shape"),
        ({"sha256": np.array("0" * 64)}, "sha256"),
        ({"words": np.empty((0, 2), np.uint64), "chip_ids": np.empty(0, "U1")}, "no chip in it"),
    ]
    for change, match in cases:
        np.savez(path, **(good | change))
        refused(path, match)
    del good["words"]
    np.savez(path, **good)
    refused(path, r"no words\.npy in it")


class Bomb:
    """Something that a pickle would run."""

    fired = False

    def __reduce__(self):
        return exec, ("import tests_bomb_that_does_not_exist",)


def test_objects_are_refused_and_nothing_is_unpickled(fleet, tmp_path):
    good, path = members(fleet, tmp_path / "good.npz"), tmp_path / "bad.npz"
    for name in good:
        np.savez(path, allow_pickle=True, **(good | {name: np.array([Bomb()], dtype=object)}))
        refused(path, "Python objects found")
    np.save(tmp_path / "bad.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    refused(tmp_path / "bad.npy", "Python objects found")
    (tmp_path / "bad.npz").write_bytes(pickle.dumps(Bomb()))
    refused(tmp_path / "bad.npz", "not a readable fleet file")


def test_stacks_that_are_not_boolean_maps_are_refused(fleet, tmp_path):
    path = tmp_path / "bad.npy"
    stack = np.stack([chip.fault_map.faulty for chip in fleet])
    cases = [
        (stack.astype(np.uint8), "uint8 of shape"),
        (stack.astype(float) * np.nan, "float64 of shape"),
        (stack[0], "shape"),
        (stack[:0], "shape"),
        (np.asfortranarray(stack), "Fortran order"),
    ]
    for values, match in cases:
        np.save(path, values)
        refused(path, match)
    np.save(path, stack)
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + b"\7")
    refused(path, "byte 7 found")
    path.write_bytes(raw[:-1])
    refused(path, "454 bytes found where bool")
    np.save(path, stack[:, :, :4])
    refused(path, "maps of 5x4 PEs; the array has 5x13")


def test_a_header_that_promises_too_much_allocates_nothing(fleet, tmp_path):
    """A petabyte, by its header, in a file of a few bytes."""
    buffer = io.BytesIO()
    header = {"descr": "|b1", "fortran_order": False, "shape": (10**9, 1000, 1000)}
    np.lib.format.write_array_header_1_0(buffer, header)
    (tmp_path / "bad.npy").write_bytes(buffer.getvalue() + b"\1" * 100)
    refused(tmp_path / "bad.npy", "100 bytes found where bool")
    save_fleet(fleet, tmp_path / "good.npz")
    with (
        zipfile.ZipFile(tmp_path / "good.npz") as good,
        zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad,
    ):
        for name in good.namelist():
            bad.writestr(name, buffer.getvalue() if name == "words.npy" else good.read(name))
    refused(tmp_path / "bad.npz", "words: 0 bytes found")


def test_bad_lines_of_a_csv_are_named_by_number(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(
        "chip_id,row,col\na,1,2\na,5,0\na,0,13\na,-1,0\na,1.5,0\na,nan,0\na,1\n,1,1\na,1,2\nb,0,0\n"
        "a,1,99999999999999999999\n"
    )
    with pytest.raises(EfatError) as caught:
        load_fleet(path, ARRAY)
    numbers = [int(p.split("line ")[1].split(":")[0]) for p in caught.value.problems]
    assert numbers == [3, 4, 5, 6, 7, 8, 9, 10, 12]
    assert "PE(5, 0) is outside the array of 5x13" in caught.value.problems[0]
    assert "PE(1, 2) of chip 'a' is listed twice" in caught.value.problems[-2]


def test_other_broken_csvs_are_refused(tmp_path):
    path = tmp_path / "bad.csv"
    for content, match in [
        (b"", "line 1"),
        (b"chip,row,col\na,1,2\n", "header chip_id,row,col is needed"),
        (b"chip_id,row,col\n", "no chip in it"),
        (b"chip_id,row,col\n\xff\xfe,1,2\n", "line 2: byte 0xff found; text in UTF-8"),
        ("chip_id,row,col\n".encode("utf-16"), "line 1: byte 0xff found"),
        (b"chip_id,row,col\n" + b"\n" * 9000 + b"\xff", "line 9002: byte 0xff"),
        (b'chip_id,row,col\n\n"a,1,2\na,1,2\n', "line 3: unexpected end of data"),
        (b'chip_id,row,col\na,9,9\n"a"b,1,2\n', "(?s)line 2: PE.*line 3: .* expected after"),
        (b"chip_id,row,col\na\0b,1,2\n", "line 2: .*(control characters|NUL)"),
        (b'chip_id,row,col\n"a\nb",1,2\n', "line 2: .*control characters"),
        (b"chip_id,row,col\n" + b"a,9,9\n" * 50, "and 30 bad lines more"),
    ]:
        path.write_bytes(content)
        refused(path, match)


def test_a_file_is_checked_whatever_the_array(fleet, tmp_path):
    save_fleet(fleet, tmp_path / "good.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK truncated")
    (tmp_path / "list.csv").write_text("chip_id,row,col\na,99,99\n")  # on which array?
    for name in ("good.npz", "list.csv"):
        check_fleet_file(tmp_path / name)
    for name, match in [
        ("bad.npz", "not a readable"),
        ("none.npz", "fleet.path: .*no such file"),
        ("none.csv", "fleet.path: .*no such file"),
        ("a.txt", "a .npz, .npy or"),
    ]:
        with pytest.raises(EfatError, match=match):
            check_fleet_file(str(tmp_path / name))


def test_files_that_are_not_there_or_of_no_known_kind(tmp_path):
    refused(tmp_path / "none.npz", "fleet.path: .*none.npz given; no such file")
    refused(tmp_path / "chips.xlsx", "a .npz, .npy or .csv file is needed")
    (tmp_path / "folder.csv").mkdir()
    refused(tmp_path / "folder.csv", "not a readable fleet file")


def mutate(raw, rng):
    """Flip, cut, insert, repeat or swap some bytes."""
    raw = bytearray(raw)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(raw) + 1))
        size = int(rng.integers(1, 9))
        kind = rng.integers(5)
        if kind == 0 and at < len(raw):
            raw[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del raw[at : at + size]
        elif kind == 2:
            raw[at:at] = rng.bytes(size)
        elif kind == 3:
            raw[at:at] = raw[at : at + size]
        else:
            raw[at : at + size] = rng.bytes(size)[: len(raw[at : at + size])]
    return bytes(raw) if rng.random() < 0.9 else bytes(raw[: rng.integers(len(raw) + 1)])


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@pytest.mark.parametrize("suffix", ["npz", "npy", "csv"])
def test_mutated_files_load_or_raise_efat_error(fleet, tmp_path, suffix):
    """3,400 mutations of each kind: nothing but a fleet or an `EfatError` comes out."""
    path = tmp_path / f"fuzz.{suffix}"
    if suffix == "npz":
        save_fleet(fleet, path)
    elif suffix == "npy":
        np.save(path, np.stack([chip.fault_map.faulty for chip in fleet]))
    else:
        path.write_text(as_csv(fleet))
    raw, rng = path.read_bytes(), np.random.default_rng(0)
    refusals = 0
    for _ in range(3400):
        path.unlink()  # rewriting a file in place makes some file systems flush each time
        path.write_bytes(mutate(raw, rng))
        try:
            loaded = load_fleet(path, ARRAY)
        except EfatError:
            refusals += 1
            continue
        assert isinstance(loaded, Fleet)
        if suffix == "npz":
            assert loaded == fleet, "the hash lets no other content through"
    assert refusals > 1000


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_mutated_arrays_within_an_intact_zip_load_or_raise_efat_error(fleet, tmp_path):
    """3,400 more, with valid checksums: the parsers of the arrays themselves."""
    save_fleet(fleet, tmp_path / "good.npz")
    with zipfile.ZipFile(tmp_path / "good.npz") as good:
        content = {name: good.read(name) for name in good.namelist()}
    rng, names, path = np.random.default_rng(1), sorted(content), tmp_path / "bad.npz"
    loaded = 0
    for _ in range(3400):
        name = names[rng.integers(len(names))]
        path.unlink(missing_ok=True)
        with zipfile.ZipFile(path, "w") as bad:
            for other, raw in content.items():
                bad.writestr(other, mutate(raw, rng) if other == name else raw)
        try:
            assert load_fleet(path, ARRAY) == fleet
            loaded += 1
        except EfatError:
            pass
    assert loaded < 1000

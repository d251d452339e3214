import numpy as np
import pytest

from efat import EfatError, FaultMap, SystolicArray
from efat.chips import (
    Chip,
    Fleet,
    draw_fault_map,
    file_fleet,
    load_fleet,
    save_fleet,
    uniform_fleet,
)

ARRAY = SystolicArray(8, 4)


def test_rates_are_spread_evenly_and_exact():
    fleet = uniform_fleet(SystolicArray(16, 16), 0, 5, [0.0, 0.25])
    assert [chip.fault_map.fault_count for chip in fleet] == [0, 16, 32, 48, 64]
    assert [chip.chip_id for chip in fleet] == ["chip0", "chip1", "chip2", "chip3", "chip4"]


def test_one_rate_for_all():
    assert {chip.fault_map.fault_count for chip in uniform_fleet(ARRAY, 0, 3, 0.25)} == {8}


def test_a_fleet_is_drawn_from_the_seed_and_chips_do_not_move_when_others_come():
    few, more = uniform_fleet(ARRAY, 0, 3, 0.5), uniform_fleet(ARRAY, 0, 9, 0.5)
    assert few.chips == more.chips[:3]
    assert uniform_fleet(ARRAY, 1, 3, 0.5) != few


def test_every_pe_is_as_likely_as_any_other():
    rng = np.random.default_rng(0)
    n = 4000
    hits = sum(draw_fault_map(ARRAY, 0.25, rng).faulty.astype(int) for _ in range(n))
    deviation = (hits - n / 4) / np.sqrt(n * 0.25 * 0.75)
    assert np.abs(deviation).max() < 4.5  # 32 PEs; beyond 4.5 sigma: 1 in 5,000
    assert hits.sum() == n * 8


def test_a_file_gives_back_the_fleet(tmp_path):
    fleet = uniform_fleet(ARRAY, 0, 5, [0, 1])
    save_fleet(fleet, tmp_path / "fleet.npz")
    assert load_fleet(tmp_path / "fleet.npz") == fleet
    assert file_fleet(ARRAY, 0, str(tmp_path / "fleet.npz")) == fleet
    np.save(tmp_path / "stack.npy", np.stack([chip.fault_map.faulty for chip in fleet]))
    assert load_fleet(tmp_path / "stack.npy") == fleet


def test_the_same_fleet_is_the_same_file(tmp_path):
    for name in "ab":
        save_fleet(uniform_fleet(ARRAY, 0, 5, 0.3), tmp_path / f"{name}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def bad_files(folder):
    maps = np.zeros((2, 8, 4), bool)
    whole = folder / "whole.npz"
    save_fleet(uniform_fleet(ARRAY, 0, 2, 0.3), whole)
    (folder / "truncated.npz").write_bytes(whole.read_bytes()[:-30])
    np.save(folder / "stack.npy", maps)
    (folder / "truncated.npy").write_bytes((folder / "stack.npy").read_bytes()[:-5])
    (folder / "empty.npz").write_bytes(b"")
    (folder / "text.npz").write_text("not an array")
    np.save(folder / "floats.npy", maps.astype(float))
    np.save(folder / "flat.npy", maps[0])
    np.save(folder / "objects.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    np.savez(folder / "other_names.npz", maps=maps)
    np.savez(folder / "numbered.npz", chip_ids=np.arange(2), faulty=maps)
    np.savez(folder / "twins.npz", chip_ids=np.array(["a", "a"]), faulty=maps)
    np.savez(folder / "too_few.npz", chip_ids=np.array(["a"]), faulty=maps)
    np.savez(folder / "pickled.npz", chip_ids=np.array([None, None]), faulty=maps)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("missing.npz", "missing.npz: not a readable fleet file .*No such file"),
        ("truncated.npz", "not a readable fleet file"),
        ("truncated.npy", "not a readable fleet file"),
        ("empty.npz", "not a readable fleet file"),
        ("text.npz", "not a readable fleet file"),
        (
            "floats.npy",
            r"float64 with shape \(2, 8, 4\) found; a boolean array \[chips, rows, cols\]",
        ),
        ("flat.npy", r"bool with shape \(8, 4\) found"),
        ("objects.npy", "not a readable fleet file"),
        ("other_names.npz", "no array named 'chip_ids"),
        ("numbered.npz", "chip_ids must be one text a chip"),
        ("twins.npz", "chip 'a': used 2 times; names must differ"),
        ("too_few.npz", "chip_ids must be one text a chip"),
        ("pickled.npz", "not a readable fleet file"),
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path, name, match):
    bad_files(tmp_path)
    with pytest.raises(EfatError, match=match):
        load_fleet(tmp_path / name)


def test_a_mutated_file_gives_a_fleet_or_an_efat_error(tmp_path):
    save_fleet(uniform_fleet(ARRAY, 0, 3, 0.3), tmp_path / "whole.npz")
    whole, rng = (tmp_path / "whole.npz").read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(600):
        broken = bytearray(whole)
        for _ in range(int(rng.integers(1, 6))):
            broken[int(rng.integers(len(broken)))] = int(rng.integers(256))
        (tmp_path / "broken.npz").write_bytes(broken[: int(rng.integers(1, 2 * len(broken)))])
        try:
            load_fleet(tmp_path / "broken.npz")
        except EfatError:
            refused += 1
    assert refused > 300


def test_a_file_of_another_array_names_both_shapes(tmp_path):
    save_fleet(uniform_fleet(ARRAY, 0, 2, 0.3), tmp_path / "fleet.npz")
    with pytest.raises(EfatError, match="holds maps of 8x4 PEs; the array has 16x16"):
        file_fleet(SystolicArray(16, 16), 0, str(tmp_path / "fleet.npz"))


def test_all_problems_of_a_fleet_come_at_once():
    with pytest.raises(EfatError) as caught:
        uniform_fleet(ARRAY, 0, 0, [0.5, 1.5])
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "fleet.chips",
        "fleet.fault_rate",
    ]
    with pytest.raises(EfatError, match=r"(?s)'a': used 2 times.*one shape is needed"):
        Fleet((Chip("a", FaultMap.none(2, 2)), Chip("a", FaultMap.none(3, 3))))
    with pytest.raises(EfatError, match="no chip in it"):
        Fleet(())


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_outside_0_1_is_refused(rate):
    with pytest.raises(EfatError, match=r"fault rate: .* a number in \[0, 1\]"):
        draw_fault_map(ARRAY, rate, np.random.default_rng(0))

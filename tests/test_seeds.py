from efat.seeds import derive, generator


def test_streams_differ_by_seed_and_by_every_name():
    seeds = {
        derive(s, *names) for s in (0, 1) for names in ((), ("a",), ("a", 1), ("a", "b"), ("ab",))
    }
    assert len(seeds) == 10
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_does_not_depend_on_what_was_drawn_before():
    first = generator(0, "fleet", 3).random(4).tolist()
    generator(0, "fleet", 2).random(100)
    assert generator(0, "fleet", 3).random(4).tolist() == first
    assert derive(0, "fleet") == 1188773257845889502  # the same on every machine and version

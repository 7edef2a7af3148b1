from tmp.progress import silent


def test_silent_track_passes_items_through() -> None:
    assert list(silent(range(3), "tiles", 3)) == [0, 1, 2]

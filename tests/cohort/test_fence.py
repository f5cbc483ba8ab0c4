"""The mark of the run that may write."""

from atlassegfm.cohort.fence import fenced, is_current


def test_a_mark_counts_until_it_is_renewed_or_the_run_ends(tmp_path):
    path = tmp_path / "run"
    with fenced(path) as fence:
        first = fence.mark
        assert is_current(path, first)
        fence.renew()
        assert not is_current(path, first)
        assert is_current(path, fence.mark)
        with fenced(path) as other:
            # Somebody has taken over.
            assert not is_current(path, fence.mark)
            assert is_current(path, other.mark)
    assert not is_current(path, fence.mark)

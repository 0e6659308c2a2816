"""One row a run: copies are put together, sources are joined, contradictions are refused by name."""

import pytest

from scalelaw.errors import UserError
from scalelaw.imports import ColumnMap, Options, import_runs

BARE = Options(ColumnMap())


def imported(tmp_path, *texts, **options):
    paths = []
    for index, text in enumerate(texts):
        path = tmp_path / f"{'abc'[index]}.csv"
        path.write_text(text)
        paths.append(str(path))
    return import_runs(paths, BARE, **options)


def test_copies_are_one_run_and_said(tmp_path):
    found = imported(tmp_path, "run_id,loss,x\na,2,1\nb,3,1\na,2,1\n")
    assert found.runs.run_id.tolist() == ["a", "b"]
    assert any("1 rows repeat a run" in note and "row 1 and" in note and "row 3" in note for note in found.notes)


def test_what_two_sources_know_is_joined(tmp_path):
    found = imported(tmp_path, "run_id,loss\na,2\nb,3\n", "run_id,N,lr\nb,20,0.2\na,10,0.1\n")
    assert found.runs.frame.set_index("run_id").loc["b"].to_dict() == {"val_loss": 3, "params": 20, "lr": 0.2}
    assert found.runs.params.tolist() == [10, 20]


CONTRADICTION = "run_id,loss,N\na,2.5,\na,2.25,7\n", "run_id,loss\na,2.5\n"


def test_contradictions_are_refused_with_both_rows_and_where_they_differ(tmp_path):
    with pytest.raises(UserError) as caught:
        imported(tmp_path, *CONTRADICTION)
    (message,) = caught.value.messages
    assert "a.csv row 1 and " in message
    assert "a.csv row 2: both are run 'a', but val_loss is 2.5 and 2.25; keep one with --keep" in message
    with pytest.raises(UserError, match=r"a.csv row 1 and .*b.csv row 1: both are run 'a'"):
        imported(tmp_path, "run_id,loss\na,2.5\n", "run_id,loss\na,3\n")


def test_the_kept_row_is_whole_and_the_other_is_named(tmp_path):
    first = imported(tmp_path, CONTRADICTION[0], keep="first")
    last = imported(tmp_path, CONTRADICTION[0], keep="last")
    assert (first.runs.val_loss.tolist(), first.runs.has("params")) == ([2.5], False)
    assert (last.runs.val_loss.tolist(), last.runs.params.tolist()) == ([2.25], [7])
    assert any("left out: " in note and "a.csv row 1, for" in note for note in last.notes)


def test_what_contradicts_nothing_is_kept_whichever_of_the_others_is(tmp_path):
    """A table of sizes before two logs: the logs contradict each other, and both messages name those two rows."""
    texts = "run_id,N\na,10\n", "run_id,loss\na,5\n", "run_id,loss\na,4\n"
    for keep, loss, left in (("first", 5, "c.csv row 1"), ("last", 4, "b.csv row 1")):
        found = imported(tmp_path, *texts, keep=keep)
        assert (found.runs.params.tolist(), found.runs.val_loss.tolist()) == ([10], [loss])
        (note,) = [note for note in found.notes if "left out: " in note]
        assert left in note.split(", for ")[0]
        assert note.endswith("c.csv row 1 are both run 'a', but val_loss is 5 and 4")
    with pytest.raises(UserError, match=r"b\.csv row 1 and .*c\.csv row 1: both are run 'a', but val_loss is 5 and 4"):
        imported(tmp_path, *texts)


def test_runs_without_names_are_named_alike_every_time_and_none_is_lost(tmp_path):
    text = "N,D,loss\n1,2,3\n1,2,4\n1,2,3\n"
    found, again = imported(tmp_path, text), imported(tmp_path, text)
    assert found.runs.run_id.tolist() == again.runs.run_id.tolist()
    assert len(set(found.runs.run_id)) == 3
    assert any("1 rows repeat an earlier one" in note for note in found.notes)


def test_a_row_without_the_name_that_others_have_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.csv row 2: has no run id"):
        imported(tmp_path, "run_id,loss\na,1\n,2\n")


def test_many_contradictions_are_cut_and_counted(tmp_path):
    rows = "".join(f"r{i},{loss}\n" for i in range(30) for loss in (1, 2))
    with pytest.raises(UserError) as caught:
        imported(tmp_path, "run_id,loss\n" + rows)
    assert len(caught.value.messages) == 21
    assert caught.value.messages[-1] == "and 10 more contradictions"

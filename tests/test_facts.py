"""What a report says of its run."""

from nbtools import runs
from nbtools.runs import folders


def test_a_report_names_settings_date_commit_and_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    parameters = folders.defaults("10_summary")
    facts = runs.facts(folders.Run("10_summary", parameters, tmp_path, finished=False)).set_index("what")["value"]
    assert facts["epsilons"] == parameters["epsilons"]
    assert facts["subjects"] == "–"  # none were given
    assert {"made", "commit", "nbtools", "torch", "machine"} <= set(facts.index)
    assert facts.map(bool).all()

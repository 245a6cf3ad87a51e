"""Copies of the notebooks for a class: without the instructor's answers."""

from __future__ import annotations

from pathlib import Path

from nbtools.errors import InputError
from nbtools.files import write_text
from nbtools.runs import folders
from nbtools.runs.parameters import reading_notebook

ANSWER = "answer"  # tag of the cell that is the instructor's alone


def student_copies(folder: Path) -> list[Path]:
    """Write all notebooks into a new folder, without outputs and without the instructor's answers.

    The copies run wherever they lie: a run is named by its notebook and parameters, and kept with the project's.

    Parameters
    ----------
    folder : Path
        Does not exist yet, or is empty: a student's work is never overwritten.

    Returns
    -------
    list of Path
        The copies.

    Raises
    ------
    InputError
        If there is something in the folder, or it is a file; or a notebook cannot be read.
    """
    # they import slowly, and the other commands need neither
    import nbformat
    from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            "there is something already",
            file=folder,
            expected="a new or empty folder",
            got="a folder with files" if folder.is_dir() else "a file",
            fix="name another folder, or move what is there",
        )
    copies = []
    for file in sorted(folders.NOTEBOOKS.glob("*.ipynb")):
        with reading_notebook(file):
            notebook = nbformat.read(file, as_version=4)
        for step in (TagRemovePreprocessor(remove_cell_tags={ANSWER}), ClearOutputPreprocessor()):
            notebook, _ = step.preprocess(notebook, {})
        copies.append(write_text(folder / file.name, nbformat.writes(notebook) + "\n"))
    for page in folders.NOTEBOOKS.glob("*.md"):  # what they link to
        write_text(folder / page.name, page.read_text(encoding="utf-8"))
    return copies

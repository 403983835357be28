"""The command line: what it prints, and how it says no."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from marginalia.__main__ import main, parser


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: python -m marginalia ")
    for name in (
        "notebooks",
        "outputs",
        "sync",
        "check",
        "figure",
        "figures",
        "gallery",
        "data",
        "measure",
        "train",
        "site",
    ):
        assert f"\n    {name}" in text


def test_no_command_is_an_error(capsys):
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2 and "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["figure", "relation-detr/no-such-figure"], "relation-detr/no-such-figure"),
        (["figure", "Not an ID"], "Not an ID"),
        (["notebooks", "98_nothing"], "no notebook 98_nothing"),
        (["sync", "98_nothing"], "no notebook 98_nothing"),
        (["data", "nothing"], "nothing"),
        (["train", "headline-dap-0"], "no run 'headline-dap-0'; near it: headline-dab-0"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, said, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err
    assert err.startswith(f"marginalia {arguments[0]}: ") and err.count("\n") == 1


def test_figures_lists_the_catalogue(capsys):
    from marginalia.catalogue import catalogue

    assert main(["figures"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [row.id for row in catalogue()]


def test_figure_draws_into_a_folder(tmp_path, monkeypatch, capsys):
    """The id goes to `draw` with the reader's data and folder; the files that it wrote are printed."""
    import marginalia.figures

    asked = []

    def draw(*arguments):
        asked.append(arguments)
        return [tmp_path / "a.svg", tmp_path / "a.csv"]

    monkeypatch.setattr(marginalia.figures, "draw", draw)
    assert main(["figure", "a/b", "--data", "mine.json", "--out", str(tmp_path)]) == 0
    assert asked == [("a/b", "mine.json", str(tmp_path))]
    assert capsys.readouterr().out == f"{tmp_path / 'a.svg'}\n{tmp_path / 'a.csv'}\n"


def test_notebooks_that_fail_make_the_command_fail(monkeypatch, capsys):
    import marginalia.notebooks

    def run(sources, out, jobs):
        return [SimpleNamespace(name="a", error=None), SimpleNamespace(name="b", error="cell 3")]

    monkeypatch.setattr(marginalia.notebooks, "find", lambda names: ["a", "b"])
    monkeypatch.setattr(marginalia.notebooks, "run", run)
    assert main(["notebooks"]) == 1
    assert capsys.readouterr().out == "1 of 2 notebooks ran; they are in build\n"


def test_site_runs_only_what_is_missing(monkeypatch, tmp_path, capsys):
    import marginalia.notebooks
    from marginalia.notebooks import pages

    ran = []

    def run(sources, out, jobs):
        ran.append((sources, out))
        return [SimpleNamespace(name=name, error="cell 3" if name == "bad" else None) for name in sources]

    monkeypatch.setattr(marginalia.notebooks, "run", run)
    monkeypatch.setattr(marginalia.notebooks, "page_missing", lambda source, out: source != "fresh")
    monkeypatch.setattr(pages, "write_site", lambda out: out / "site" / "index.html")
    monkeypatch.setattr(marginalia.notebooks, "find", lambda: ["fresh", "old"])
    assert main(["site", "--out", str(tmp_path)]) == 0
    assert ran == [(["old"], tmp_path)]
    assert capsys.readouterr().out == f"{tmp_path / 'site' / 'index.html'}\n"
    monkeypatch.setattr(marginalia.notebooks, "find", lambda: ["bad"])
    assert main(["site", "--out", str(tmp_path)]) == 1


def test_measure_runs_the_measurements(monkeypatch):
    ran = []
    measure = SimpleNamespace(main=lambda: ran.append(True))
    monkeypatch.setitem(sys.modules, "marginalia.boxes.measure", measure)
    monkeypatch.setattr("marginalia.boxes.measure", measure, raising=False)
    assert main(["measure"]) == 0 and ran == [True]


def test_defaults():
    options = parser().parse_args(["outputs", "20", "--all"])
    assert (options.names, options.all, options.jobs, str(options.out)) == (["20"], True, 2, "build")
    assert parser().parse_args(["data"]).name == "coco2017-annotations"

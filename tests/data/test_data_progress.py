"""Long work is seen, in a log as well."""
import pytest

from kerazoo.data import progress


def go(count=3):
    with progress.progress("Checking images", count, "file") as done:
        for _ in range(count):
            done()


def test_a_log_has_one_line_at_the_start_and_one_at_the_end(monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY", 0)
    go()
    assert capsys.readouterr().err == "Checking images: 3 files ...\nChecking images: done after 0 s.\n"
    with pytest.raises(ZeroDivisionError), progress.progress("Reading cifar10", 50_000, "image") as done:
        done(256)
        1 / 0
    assert capsys.readouterr().err == "Reading cifar10: 50,000 images ...\n"


def test_short_work_is_done_in_silence(capsys):
    go()
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(monkeypatch, capsys):
    import sys

    monkeypatch.setattr(progress, "DELAY", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    go()
    error = capsys.readouterr().err
    assert "Checking images:" in error and "\r" in error and "files ..." not in error


def test_the_end_is_told_although_nobody_asks_for_more_than_the_last(monkeypatch, capsys):
    from kerazoo.data import facts

    monkeypatch.setattr(progress, "DELAY", 0)
    assert dict(zip("ab", facts.each_with_bar(str.upper, "ab"))) == {"a": "A", "b": "B"}
    assert capsys.readouterr().err.endswith("Checking images: done after 0 s.\n")

"""Prose is wrapped at 100 characters, and `tools/prose.py` finds where it is not."""

from __future__ import annotations

from tools import prose

LONG = "word " * 30


def numbers(text: str) -> list[int]:
    return [number for number, _ in prose.long_lines(text)]


def test_prose_of_the_repository_is_wrapped(capsys):
    assert prose.main([]) == 0, capsys.readouterr().out


def test_long_lines_of_paragraphs_and_lists_are_found():
    assert numbers(f"short\n{LONG}\n") == [2]
    assert numbers(f"- short\n  {LONG}\n\n    {LONG}\n") == [2, 4]
    assert numbers(f"1. {LONG}\n> {LONG}\n# {LONG}\n") == [1, 2, 3]


def test_tables_code_images_and_long_links_are_left_alone():
    assert not numbers(f"| a | {LONG} |\n")
    assert not numbers(f"```sh\n{LONG}\n```\n")
    assert not numbers(f"text:\n\n    {LONG}\n    {LONG}\n")
    assert not numbers(f"![{LONG}](figure.svg)\n")
    assert not numbers(f"- [page](https://example.org/{'x' * 100})\n")


def test_code_ends_where_its_fence_or_its_indent_ends():
    assert numbers(f"```\n{LONG}\n```\n{LONG}\n") == [4]
    assert numbers(f"text:\n\n    {LONG}\n{LONG}\n") == [4]


def test_a_file_with_a_long_line_fails_and_is_named(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"{LONG}\n")
    assert prose.main([str(page)]) == 1
    assert f"{page}:1: 150 characters" in capsys.readouterr().out

"""What counts as a line of code."""

from __future__ import annotations

from tools.size import javascript_lines, python_lines

MODULE = '''"""Two
lines."""

# a comment
x = """no
docstring"""


def f(a):
    """Doc."""

    return a  # remark
'''


def test_blank_lines_comments_and_docstrings_do_not_count():
    assert len(python_lines(MODULE)) == 4
    assert javascript_lines("/* a\nb */\nlet x = 1; // c\n\n  // d\n") == 1

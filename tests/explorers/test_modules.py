"""What all explorers' modules for the browser share: they need no network, and their parts fit together."""

from __future__ import annotations

import re

import pytest

from marginalia.explorers import AttentionExplorer, BoxExplorer, CompositionExplorer, RipsExplorer
from marginalia.explorers.base import STATIC, joined


@pytest.mark.parametrize(
    "explorer, name",
    [
        (BoxExplorer, "box"),
        (AttentionExplorer, "attention"),
        (RipsExplorer, "rips"),
        (CompositionExplorer, "composition"),
    ],
)
def test_parts_name_only_what_comes_before_and_nothing_is_imported(explorer, name):
    parts, names = ("canvas.js", f"{name}_maths.js", f"{name}_drawing.js", f"{name}.js"), set()
    assert explorer._esm == joined(*parts)
    assert not re.search(r"^\s*import\b|\bimport\(|https?://|\bfetch\(", explorer._esm, re.MULTILINE)
    for part in parts:
        source = (STATIC / part).read_text(encoding="utf-8")
        wanted = {n for found in re.findall(r"import \{([^}]*)\}", source) for n in re.findall(r"\w+", found)}
        assert wanted <= names, f"{part} wants {wanted - names}"
        names |= set(re.findall(r"^export (?:async )?(?:const|function|class) (\w+)", source, re.MULTILINE))

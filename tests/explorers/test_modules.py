"""What all explorers' modules for the browser share: they need no network, and their parts fit together."""

from __future__ import annotations

import re

import pytest

from marginalia.explorers import (
    AttentionExplorer,
    BoxExplorer,
    CompositionExplorer,
    RelationExplorer,
    RipsExplorer,
)
from marginalia.explorers.base import STATIC, joined


def explorer_parts(name: str) -> list[str]:
    """The files of one explorer's module; those of boxes share the view of boxes."""
    boxes = {"box": ["box_maths.js", "box_drawing.js", "boxes.js"]}
    boxes["relation"] = [*boxes["box"], "relation_maths.js", "relation_drawing.js"]
    own = boxes.get(name, [f"{name}_maths.js", f"{name}_drawing.js"])
    return ["canvas.js", "view.js", *own, f"{name}.js"]


@pytest.mark.parametrize(
    "explorer, name",
    [
        (BoxExplorer, "box"),
        (AttentionExplorer, "attention"),
        (RipsExplorer, "rips"),
        (CompositionExplorer, "composition"),
        (RelationExplorer, "relation"),
    ],
)
def test_parts_name_only_what_comes_before_and_nothing_is_imported(explorer, name):
    parts, names = explorer_parts(name), set()
    assert explorer._esm == joined(*parts)
    assert not re.search(r"^\s*import\b|\bimport\(|https?://|\bfetch\(", explorer._esm, re.MULTILINE)
    # the one way to export that anywidget does not warn of
    assert re.findall(r"^export .*\brender\b.*", explorer._esm, re.MULTILINE) == [
        "export default { render };"
    ]
    for part in parts:
        source = (STATIC / part).read_text(encoding="utf-8")
        wanted = {n for found in re.findall(r"import \{([^}]*)\}", source) for n in re.findall(r"\w+", found)}
        assert wanted <= names, f"{part} wants {wanted - names}"
        names |= set(re.findall(r"^export (?:async )?(?:const|function|class) (\w+)", source, re.MULTILINE))
        for listed in re.findall(r"^export const \[([^\]]*)\]", source, re.MULTILINE):
            names |= set(re.findall(r"\w+", listed))


@pytest.mark.parametrize("name", ["box", "attention", "rips", "composition", "relation"])
def test_no_name_is_declared_twice_in_a_module(name):
    source = joined(*explorer_parts(name))
    declared = re.findall(r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", source, re.MULTILINE)
    assert len(declared) == len(set(declared))

"""What tests of the explorers share: code that shows each of them, and its view as a reader finds it."""

from __future__ import annotations

import re

BOXES = [[30, 20, 70, 60], [150, 30, 60, 90], [260, 60, 80, 50], [60, 150, 90, 70], [220, 170, 50, 50.5]]
SIZE = (384, 303)  # of the image below BOXES
POINTS = [[0, 0], [1, 0], [1, 1], [0, 1], [2, 0.5]]
WINDOW = (-1.5, 2.5, -1.5, 1.5)

# Cells of a notebook: each leaves an `explorer` and shows it.
SHOW = {
    # a random model with things found: boxes and scores are put there, attention is its own
    "attention": """
from dataclasses import replace
import torch
from marginalia.detection import DetectorConfig, build, capture_attention, make_scenes
from marginalia.explorers import AttentionExplorer
torch.set_num_threads(1)
scenes = make_scenes(1, split="val")
captured = capture_attention(build(DetectorConfig(queries=6)), torch.from_numpy(scenes.pixels))
boxes = [[.3, .3, .4, .4], [.3, .3, .2, .2], [.75, .7, .3, .4],
         [.7, .2, .2, .2], [.3, .3, .1, .1], [.2, .8, .2, .2]]
found = replace(captured.queries, boxes=torch.tensor([boxes]), labels=torch.tensor([[0, 1, 2, 3, 4, 5]]),
                scores=torch.tensor([[.6, .5, .9, .2, .1, .05]]))
captured, pixels = replace(captured, queries=found), scenes.pixels[0, 0]
explorer = AttentionExplorer(captured, pixels, queries=5, head=0)
explorer
""",
    "box": f"""
from skimage import data
from marginalia.explorers import BoxExplorer
pixels = data.coins()
explorer = BoxExplorer({BOXES}, pixels=pixels)
explorer
""",
    # a random model with compositions far from the identity
    "composition": """
import torch
from marginalia.explorers import CompositionExplorer
from marginalia.heads import TinyTransformer, TransformerConfig, VARIANTS
torch.set_num_threads(1)
torch.manual_seed(0)
config = TransformerConfig(vocab=20, width=32, heads=4, layers=2, ffn=16, rotary=4,
                           composition=VARIANTS["DCMHA"])
model = TinyTransformer(config)
for name, weight in model.named_parameters():
    if name.endswith(("W_2", "W_g")):
        torch.nn.init.normal_(weight, std=0.1)
tokens, labels = range(10), ["def", " area", "(", "r", ")", ":", "\\n", " return", " r", " r"]
explorer = CompositionExplorer(model, tokens, labels, pair=(7, 2))
explorer
""",
    "relation": f"""
import torch
from skimage import data
from marginalia.detection.relation import PositionRelation
from marginalia.explorers import RelationExplorer
torch.set_num_threads(1)
torch.manual_seed(1)
relation = PositionRelation(8)
torch.nn.init.normal_(relation.projection.weight, std=0.5)
pixels = data.coins()
explorer = RelationExplorer({BOXES}, relation, pixels=pixels)
explorer
""",
    "rips": f"""
from marginalia.explorers import RipsExplorer
explorer = RipsExplorer({POINTS}, length=1.2)
explorer.window = {WINDOW}
explorer
""",
}


def made(name: str):
    """The explorer of SHOW, made here."""
    namespace: dict = {}
    exec(SHOW[name], namespace)
    return namespace["explorer"]


class Shown:
    """The last explorer on a page, found by what a reader sees."""

    def __init__(self, page, name: str):
        self.page = page
        self.root = page.locator(f".m-{name}").last
        self.first = self.canvas(0)
        self.first.wait_for()

    def canvas(self, index: int):
        return self.root.locator("canvas").nth(index)

    def frame(self, index: int) -> dict:
        """Where a canvas is on the page, once it is in view."""
        self.canvas(index).scroll_into_view_if_needed()
        return self.canvas(index).bounding_box()

    def press(self, *keys: str) -> None:
        """Keys on the first canvas."""
        for key in keys:
            self.first.press(key)

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def click(self, *names: str) -> None:
        """Buttons, one after the other."""
        for name in names:
            self.button(name).click()

    def drag(self, start, end) -> None:
        """With the mouse, between places of `at`."""
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=5)
        self.page.mouse.up()

    def touch(self, *places) -> None:
        """A finger goes down on the first place of the page, along the others, and up."""
        client = self.page.context.new_cdp_session(self.page)
        for k, (x, y) in enumerate(places):
            told = {"type": "touchMove" if k else "touchStart", "touchPoints": [{"x": x, "y": y}]}
            client.send("Input.dispatchTouchEvent", told)
        client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def text(self, name: str) -> str:
        """What the first part of the view with this name says."""
        return self.root.locator(f".m-{name}").first.text_content().replace("\u2060", "")

    def texts(self, name: str) -> list[str]:
        return self.root.locator(f".m-{name}").all_text_contents()

    def wait(self, told: str, name: str = "status") -> None:
        """Until a part of the view says what fits the pattern."""
        self.root.locator(f".m-{name}", has_text=re.compile(told)).first.wait_for(state="attached")

    def says(self, name: str, text: str) -> None:
        """Until a part of the view says this among other things."""
        self.wait(re.escape(text), name)


class ShownBoxes(Shown):
    """A view of boxes on an image of `size`."""

    size = SIZE

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the image is on the page."""
        frame = self.frame(0)
        W, H = self.size
        scale = min((frame["width"] - 12) / W, (frame["height"] - 12) / H)  # 6 around
        left = frame["x"] + (frame["width"] - W * scale) / 2
        top = frame["y"] + (frame["height"] - H * scale) / 2
        return left + x * scale, top + y * scale

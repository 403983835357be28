"""The teacher of digits can be looked at while it learns."""

import torch

from marginalia.topology.digits import train_teacher


def test_evaluate_sees_the_model_as_it_is():
    seen = {}

    def evaluate(model, made):
        seen[made] = model[0].weight.detach().clone()
        return {"size": float(seen[made].norm())}

    model, rows = train_teacher(steps=16, evaluate=evaluate)
    assert list(seen) == [row["step"] for row in rows] == list(range(2, 17, 2))
    assert torch.equal(seen[16], model[0].weight) and not torch.equal(seen[2], seen[16])
    assert rows[0]["size"] == float(seen[2].norm())


def test_no_steps_is_the_start():
    model, rows = train_teacher(seed=1, steps=0)
    torch.manual_seed(1)
    assert rows == [] and torch.equal(model[0].weight, torch.nn.Linear(64, 256).weight)

"""Expert answers: the best mapping by SciPy, the right program, each pair once, a held-out rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import lsajax as lsa
from llm.decision import parse
from llm.decision.slot import host_slot
from llm.training import experts, prompts
from llm.training.data import expert_examples


def on_device(inst):
    return jax.tree.map(jnp.asarray, inst)


class Repeating(prompts.Stream):
    """Every entry comes twice."""

    def __getitem__(self, index):
        return super().__getitem__(index // 2)

    def cell(self, index):
        return self.cells[0]


FAIR = prompts.cells(["fading"], ["fair"], ["7,10,2"])


def examples(
    paradigm,
    right=None,
    count=8,
    held_out=0.25,
    stream=prompts.Stream,
    limit=400,
    asked=FAIR,
    render="{}|{}".format,
):
    made = stream(asked, count, seed=0, purpose="test of data")
    fill = prompts.Prompts(made, lambda text: len(text) // 4, 2000, paradigm)
    return made, expert_examples(
        made,
        fill,
        right or {},
        paradigm=paradigm,
        held_out=held_out,
        render=render,
        count_tokens=len,
        max_new_tokens=limit,
    )


def test_mappings_are_the_optimum():
    stream, made = examples("text")
    assert (len(made.train), len(made.held_out), made.repeated) == (6, 2, 0)
    for i, example in enumerate([*made.train, *made.held_out]):
        action, _ = parse.mapping(example["completion"][0]["content"])
        slot = host_slot(stream[i])
        rate = np.asarray(lsa.rate_matrix(on_device(stream[i])), np.float64)
        rate = rate[np.ix_(slot.rows, slot.channels)]
        worth = np.log1p(rate / 1e6)
        rows, cols = linear_sum_assignment(worth, maximize=True)
        place = {int(channel): j for j, channel in enumerate(slot.channels)}
        got = sum(worth[k, place[action[int(user)]]] for k, user in enumerate(slot.users))
        assert got == pytest.approx(worth[rows, cols].sum(), rel=1e-5)
        assert len(set(action.values())) == 2


@pytest.mark.slow
def test_under_coupling_the_mapping_is_valid_and_no_worse_than_the_lap():
    cell = prompts.Cell("plain", "coupled", "7,10,2", 1.0)
    (inst,) = prompts.Stream([cell], 1, seed=0, purpose="test of data")
    action = experts.best_mapping(inst)
    slot, inst = host_slot(inst), on_device(inst)
    raw = np.full(slot.num_rows, -1, np.int32)
    raw[slot.rows] = [action[int(user)] for user in slot.users]
    assert not any(int(count) for count in lsa.violations(inst, raw))
    lap = lsa.solvers.hungarian(jax.random.key(0), inst.without_coupling()).assignment
    assert lsa.objective_value(inst, raw) >= lsa.objective_value(inst, lap) * (1 - 1e-5)


def test_programs_are_of_the_family_that_is_right(box):
    # Channels are scarce: what is almost right elsewhere is far off.
    asked = prompts.cells(["plain", "fading"], ["throughput"], ["40,40,36"])
    right = {cell: experts.right_program(cell, box, seed=0) for cell in asked}
    family = {"plain": "sort_both", "fading": "assign_rates"}
    assert {cell.setting: name for cell, name in right.items()} == family
    stream, made = examples("code", right, asked=asked, limit=2000)
    for i, example in enumerate([*made.train, *made.held_out]):
        wanted = experts.program_text(family[stream.cell(i).setting])
        assert example["completion"] == [{"role": "assistant", "content": wanted}]


def test_each_pair_is_there_once_and_long_answers_are_refused():
    _, made = examples("text", stream=Repeating, held_out=0.0)
    assert (len(made.train), len(made.held_out), made.repeated) == (4, 0, 4)
    # Two prompts that a chat template makes one text of are one, of which the first is kept.
    _, all_of_them = examples("text", held_out=0.0)
    places = iter([0, 1, 2, 3, 0, 1, 2, 3])
    _, made = examples("text", held_out=0.25, render=lambda *pair: str(next(places)))
    assert [*made.train, *made.held_out] == all_of_them.train[:4]
    assert (len(made.held_out), made.repeated) == (1, 4)
    with pytest.raises(ValueError, match=r"gives at most 10: ask for smaller --scales"):
        examples("text", limit=10)

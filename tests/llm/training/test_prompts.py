"""The stream of prompts: balanced, the same from any place on, fresh instances."""

import collections

import jax
import numpy as np
import pytest

from llm.training import prompts


def stream(length=24, seed=0, purpose="training", slots=1):
    asked = prompts.cells(["plain", "fading"], ["throughput", "fair"], ["7,10,2"], [0.5])
    return prompts.Stream(asked, length, seed=seed, slots=slots, purpose=purpose)


def powers(own, indices):
    return [float(np.sum(own[i].mean_power_w)) for i in indices]


def test_each_block_has_each_cell_once_in_an_order_of_its_own():
    own = stream()
    blocks = [[own.cell(4 * b + k) for k in range(4)] for b in range(6)]
    assert all(collections.Counter(block) == collections.Counter(own.cells) for block in blocks)
    assert len({tuple(block) for block in blocks}) > 1


def test_any_entry_is_a_function_of_seed_index_and_purpose():
    own = stream()
    whole = powers(own, range(24))
    assert powers(stream(), (23, 5, 0)) == [whole[23], whole[5], whole[0]]
    assert powers(stream(length=1000), range(24)) == whole
    assert len(set(whole)) == 24
    for other in (stream(seed=1), stream(purpose="held out")):
        assert not set(powers(other, range(24))) & set(whole)


def test_entries_are_of_their_cells_and_one_object_each():
    own = stream(slots=3)
    for i in range(4):
        entry, cell = own[i], own.cell(i)
        assert entry is own[i] and len(entry) == 3
        for slot in entry:
            assert (slot.fading is not None) == (cell.setting == "fading")
            assert slot.objective == cell.objective
            assert slot.num_channels == 10 and slot.num_rows == 2
        assert not np.array_equal(entry[0].mean_power_w, entry[1].mean_power_w)
    assert all(isinstance(leaf, np.ndarray | np.generic) for leaf in jax.tree.leaves(own[0]))


def test_collator_writes_what_the_cell_says():
    own = stream()
    fill = prompts.Prompts(own, lambda text: len(text) // 4, 2000, "code")
    rows = fill([{"instance": i, "prompt": None} for i in (0, 0, 1)])
    texts = [row["prompt"][0]["content"] for row in rows]
    assert texts[0] == texts[1] != texts[2]
    assert "Time budget: 0.5 s" in texts[0] and "C = " in texts[0]
    assert ("fair" in texts[0]) == (own.cell(0).objective == "fair")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": ["rain"]}, r"--settings must be of plain, .* got 'rain'"),
        ({"objectives": ["speed"]}, r"--objectives must be of throughput, .* got 'speed'"),
        ({"scales": ["IV"]}, r"--scales must be I, II, III or users,channels,requests, got 'IV'"),
        ({"scales": ["5,5,9"]}, r"--scales 5,5,9: "),
        ({"time_budgets": [0.0]}, r"--time_budgets must be from 0.01"),
        ({"settings": []}, r"one entry each"),
        ({"settings": ["plain", "plain"]}, r"1 cells twice"),
    ],
)
def test_bad_cells_are_refused(change, said):
    asked = {"settings": ["plain"], "objectives": ["fair"], "scales": ["7,10,2"]}
    with pytest.raises(ValueError, match=said):
        prompts.cells(**(asked | change))

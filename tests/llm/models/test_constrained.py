"""Decoding under a constraint, against all sentences that there are."""

import itertools
import json

import llguidance
import numpy as np
import pytest
import torch

from llm.decision.mapping import mapping_text
from llm.decision.parse import mapping
from llm.models import Constraint
from llm.models.constrained import ConstrainedDecoding, Vocabulary
from llm.models.local import LocalModel

CASES = {
    "more channels than users": Constraint((7, 12), (1, 12, 120)),
    "more users than channels": Constraint((3, 30, 31), (0, 5)),
    "one pair": Constraint((1000,), (9, 99)),
    "no channel": Constraint((1, 2), ()),
    "no user": Constraint((), (4,)),
}


def sentences(constraint):
    """Each mapping of as many pairs as possible, in every order."""
    n = constraint.pairs
    for users in itertools.permutations(constraint.users, n):
        for channels in itertools.permutations(constraint.channels, n):
            yield mapping_text(dict(zip(users, channels, strict=True)))


@pytest.fixture(scope="module")
def vocabulary(toy):
    end = toy.tokenizer.eos_token_id
    return Vocabulary(toy.tokenizer, len(toy.tokenizer), [end])


@pytest.mark.parametrize("case", CASES)
def test_all_that_some_sentence_goes_on_with_is_allowed_and_nothing_else(toy, vocabulary, case):
    """At each step of random walks, by the text that each token adds.

    Where a sentence has no choice, the tokens may be those of the tokenizer alone.
    """
    constraint, rng = CASES[case], np.random.default_rng(0)
    wanted = set(sentences(constraint))
    end = toy.tokenizer.eos_token_id
    pieces = [toy.tokenizer.decode([t]) for t in range(vocabulary.tokenizer.vocab_size)]
    reached = set()
    for _ in range(8):
        processor = ConstrainedDecoding(vocabulary, [constraint])
        ids, text = [5, 6, 7], ""
        while True:
            scores = processor(torch.tensor([ids]), torch.zeros(1, len(pieces)))
            allowed = set(torch.isfinite(scores[0]).nonzero()[:, 0].tolist())
            rests = {sentence[len(text) :] for sentence in wanted if sentence.startswith(text)}
            assert (end in allowed) == (text in wanted)
            for token in allowed - {end}:
                assert any(rest.startswith(pieces[token]) for rest in rests)
            assert {pieces[t][0] for t in allowed - {end}} == {r[0] for r in rests if r}
            token = int(rng.choice(sorted(allowed)))
            if token == end:
                break
            ids, text = [*ids, token], text + pieces[token]
        reached.add(text)
    assert reached <= wanted and len(reached) >= min(len(wanted), 3)


def test_completions_of_a_random_network_are_valid(toy):
    """And rows without a constraint are what they are alone."""
    prompts = ["a", "users and channels", "sort"]
    constraints = [Constraint((1, 2, 11), (10, 11, 1, 5)), None, Constraint((9, 8), (3,))]
    options = {"max_new_tokens": 60, "temperature": 1.0, "num_samples": 4}
    made = toy.generate(prompts, constraints=constraints, **options)
    free = toy.generate(prompts, **options)
    for i, constraint in enumerate(constraints):
        own = made[4 * i : 4 * i + 4]
        if constraint is None:
            assert [c.text for c in own] == [c.text for c in free[4 * i : 4 * i + 4]]
            continue
        for completion in own:
            assert completion.finish_reason == "stop"
            assert completion.text in set(sentences(constraint))
    assert len({c.text for c in made[:4]}) > 1
    greedy = toy.generate(prompts, constraints=constraints, max_new_tokens=60)
    assert greedy[0].text in set(sentences(constraints[0]))


def test_many_ids(vocabulary):
    """A walk through a slot that is too large to list."""
    rng = np.random.default_rng(1)
    users, channels = rng.permutation(500)[:40], rng.permutation(2000)[:300]
    constraint = Constraint(tuple(users.tolist()), tuple(channels.tolist()))
    processor = ConstrainedDecoding(vocabulary, [constraint])
    ids = [5]
    generator = torch.Generator().manual_seed(0)
    while ids[-1] not in vocabulary.ends:
        scores = torch.rand(1, vocabulary.tokenizer.vocab_size, generator=generator)
        ids.append(int(processor(torch.tensor([ids]), scores).argmax()))
    text = vocabulary.tokenizer.decode_str(ids[1:-1])
    action = mapping(text).action
    assert text == mapping_text(action)
    assert action.keys() == set(constraint.users)
    assert len(set(action.values())) == 40 and set(action.values()) <= set(constraint.channels)


def accepts(vocabulary, grammar, text):
    matcher = llguidance.LLMatcher(vocabulary.tokenizer, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = vocabulary.tokenizer.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def test_a_grammar_alone_keeps_users_apart(vocabulary):
    """What a server is sent."""
    more = CASES["more channels than users"]
    for channels in itertools.product(more.channels, repeat=2):
        pairs = list(zip(more.users, channels, strict=True))
        text = mapping_text(dict(pairs))
        assert accepts(vocabulary, more.ordered_grammar, text)
        assert not accepts(vocabulary, more.ordered_grammar, mapping_text(dict(pairs[::-1])))
        assert not accepts(vocabulary, more.ordered_grammar, mapping_text(dict(pairs[:1])))
    fewer = CASES["more users than channels"]
    for chosen in itertools.combinations(fewer.users, 2):
        text = f"action = {{{chosen[0]}: 0, {chosen[1]}: 5, }}"
        assert accepts(vocabulary, fewer.ordered_grammar, text)
        assert mapping(text).action == {chosen[0]: 0, chosen[1]: 5}
    assert not accepts(vocabulary, fewer.ordered_grammar, "action = {30: 0, 3: 5, }")
    for case in ("no channel", "no user"):
        assert accepts(vocabulary, CASES[case].ordered_grammar, "action = {}")


def test_a_schema_says_the_same(vocabulary):
    more = CASES["more channels than users"]
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(more.json_schema))
    text = json.dumps({"action": {"7": 120, "12": 1}})
    assert accepts(vocabulary, grammar, text) and mapping(text).action == {7: 120, 12: 1}
    for other in ({"7": 120}, {"7": 2, "12": 1}, {"7": 1, "12": 1, "3": 1}):
        assert not accepts(vocabulary, grammar, json.dumps({"action": other}))
    nothing = CASES["no channel"].json_schema
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(nothing))
    assert accepts(vocabulary, grammar, '{"action": {}}')
    assert not accepts(vocabulary, grammar, '{"action": {"1": 1}}')


def test_models_in_memory_are_constrained_too(toy):
    model = LocalModel.of(toy.module, toy.tokenizer)
    constraint = CASES["one pair"]
    (made,) = model.generate(["a"], max_new_tokens=30, constraints=[constraint])
    assert made.text in set(sentences(constraint))
    with pytest.raises(ValueError, match=r"constraints must have one entry per .*, got 2"):
        model.generate(["a"], constraints=[constraint] * 2)

"""The best of a few completions, by their rewards: `python examples/score.py`.

`score` is all that a trainer of one's own needs: texts in, a reward for each of them out.
"""

import jax

import lsajax as lsa
from llm.decision.serialize import serialize
from llm.models import load_model
from llm.sandbox import Sandbox
from llm.training.rewards import Terms, score


def main(samples: int = 8) -> list[float]:
    """The rewards of samples of the embedded model, best first."""
    inst = lsa.sample_instance(jax.random.key(0), lsa.SMALL_SCALES[15, 20, 8])
    model = load_model("embedded")
    prompt = serialize(inst, model.count_tokens, model.prompt_budget).text
    made = model.generate([prompt], temperature=1.0, num_samples=samples)
    texts = [completion.text for completion in made]
    with Sandbox(workers=2) as box:
        scores = score(texts, [inst] * samples, box, terms=Terms(form="ranked"))
    order = scores.total.argsort()[::-1]
    print(f"reward {scores.total[order[0]]:.2f}, {scores.valid.sum()} of {samples} valid")
    print(texts[order[0]])
    return scores.total[order].tolist()


if __name__ == "__main__":
    main()

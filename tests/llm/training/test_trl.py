"""Two steps of TRL's own GRPOTrainer on the embedded model, fed by the sandbox's rewards."""

import jax
import numpy as np

import lsajax as lsa
from llm.decision.serialize import serialize
from llm.models import EMBEDDED, load_model
from llm.sandbox import Limits, Sandbox
from llm.training.rewards import Terms, score
from llm.training.trl_rewards import TrlRewards


def test_grpo_steps_with_our_rewards(tmp_path):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    scenario = lsa.Scenario(num_users=20, num_channels=24, num_active=6)
    instances = [lsa.sample_instance(jax.random.key(s), scenario) for s in range(2)]
    model = load_model("embedded")
    prompts = [serialize(i, model.count_tokens, model.prompt_budget).text for i in instances]
    rows = [
        {"prompt": [{"role": "user", "content": text}], "instance": k}
        for k, text in enumerate(prompts)
    ]
    seen = []
    with Sandbox(workers=2, limits=Limits(wall_s=5.0, cpu_s=2.0)) as box:
        rewards = TrlRewards(instances, box, terms=Terms(min_tokens=10))
        shared = rewards.structure_reward

        async def structure_reward(**step):
            parts = await shared(**step)
            texts = [completion[-1]["content"] for completion in step["completions"]]
            seen.append((texts, step["instance"], parts))
            return parts

        arguments = GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=60,
            max_steps=2,
            logging_steps=1,
            reward_weights=rewards.weights,
            use_cpu=True,
            bf16=False,  # emulated on a CPU: several times slower
            report_to=[],
            save_strategy="no",
            seed=3,
        )
        trainer = GRPOTrainer(
            str(EMBEDDED),
            reward_funcs=[structure_reward, *rewards.functions[1:]],
            args=arguments,
            train_dataset=Dataset.from_list(rows),
        )
        before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
        trainer.train()
        texts = [text for step, _, _ in seen for text in step]
        chosen = [instances[k] for _, index, _ in seen for k in index]
        direct = score(texts, chosen, box)
    assert len(texts) == 8
    np.testing.assert_allclose(np.concatenate([p for _, _, p in seen]), direct.structure, rtol=1e-6)
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(logged) == 2
    for entry, (_, _, parts) in zip(logged, seen, strict=True):
        np.testing.assert_allclose(
            entry["rewards/structure_reward/mean"], np.mean(parts), rtol=1e-5
        )
        assert -1 <= entry["rewards/performance_reward/mean"] <= 1
        assert 0 <= entry["raw/valid"] <= 1
    spread = [np.std(parts) for _, _, parts in seen]
    moved = any(
        not np.array_equal(before[n], p.detach()) for n, p in trainer.model.named_parameters()
    )
    assert moved, f"no gradient although the rewards spread by {spread}"

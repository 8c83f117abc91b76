"""GRPO with rewards from the sandbox, on the embedded model: `python examples/grpo_rewards.py`.

The model writes a program for each slot, the sandbox runs it, and Eq. (12)-(14) say what the
assignment is worth. It needs the dependency groups `llm` and `train`, which `make test`
installs, and about half a minute of CPU time.
"""

import dataclasses

import jax
import tyro
from trl import GRPOConfig, GRPOTrainer

import lsajax as lsa
from llm.decision.serialize import serialize
from llm.models import EMBEDDED, load_model
from llm.sandbox import Sandbox
from llm.training.rewards import Terms
from llm.training.trl_rewards import TrlRewards
from lsajax.hashing import named_key


@dataclasses.dataclass(frozen=True)
class Config:
    """What the example trains.

    Attributes:
        steps: optimiser steps.
        slots: prompts of the data set.
        group: completions of each prompt.
        seed: of slots and sampling.
        out: folder for the trainer's checkpoints.
    """

    steps: int = 2
    slots: int = 4
    group: int = 4
    seed: int = 0
    out: str = "results/grpo"


def main(config: Config) -> list[dict[str, float]]:
    """Train, and return what was logged in each step."""
    scenario = lsa.Scenario(num_users=20, num_channels=24, num_active=6)
    key = jax.random.key(config.seed)
    sample = jax.jit(lsa.sample_instance)
    instances = [sample(named_key(key, "slot", i), scenario) for i in range(config.slots)]
    # Any chat model that transformers loads takes this place.
    model = load_model("embedded")
    prompts = [serialize(i, model.count_tokens, model.prompt_budget).text for i in instances]
    with Sandbox(workers=2) as box:
        # L_min is for models that explain what they write; the embedded one is brief.
        rewards = TrlRewards(instances, box, terms=Terms(min_tokens=20))
        trainer = GRPOTrainer(
            str(EMBEDDED),
            reward_funcs=rewards.functions,
            train_dataset=rewards.dataset(prompts),
            args=GRPOConfig(
                output_dir=config.out,
                reward_weights=rewards.weights,
                max_steps=config.steps,
                num_generations=config.group,
                per_device_train_batch_size=config.group,
                max_completion_length=96,
                learning_rate=1e-4,
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                seed=config.seed,
                # Where there is a GPU, leave these two out and set JAX_PLATFORMS=cpu.
                use_cpu=True,
                bf16=False,
            ),
        )
        trainer.train()
    return [entry for entry in trainer.state.log_history if "reward" in entry]


if __name__ == "__main__":
    for step, entry in enumerate(main(tyro.cli(Config, description=__doc__)), 1):
        print(f"step {step}: reward {entry['reward']:.2f}, valid {100 * entry['raw/valid']:.0f} %")

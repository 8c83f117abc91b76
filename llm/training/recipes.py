"""Named settings of GRPO and SFT, in the words of TRL's own configurations.

A recipe is what stands before a YAML file and before the command line, which both may change it.
"""

from typing import Any

_COMMON: dict[str, Any] = {
    "shuffle_dataset": False,  # with another order a run cannot be resumed exactly
    "logging_steps": 1,
    "save_steps": 50,
    "save_total_limit": 3,
    "report_to": ["none"],
    "gradient_checkpointing": False,
    "max_steps": 300,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 10,
}

PAPER: dict[str, Any] = _COMMON | {
    # LSA Eq. (10): advantages over the group's standard deviation.
    "scale_rewards": "group",
    # LSA Eq. (11): a clipped surrogate, a mean per completion, minus beta KL to where it started.
    "loss_type": "grpo",
    "epsilon": 0.2,
    "beta": 0.04,
    "temperature": 1.0,
    "learning_rate": 1e-5,
    "num_generations": 16,
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 4,
}
"""GRPO as the paper has it; its group of 8 is 16 here, of four prompts a step."""

SMALL_CODE: dict[str, Any] = _COMMON | {
    "scale_rewards": "none",
    "loss_type": "dr_grpo",
    "epsilon": 0.2,
    "epsilon_high": 0.28,
    "beta": 0.0,
    "mask_truncated_completions": True,
    "max_grad_norm": 0.2,
    "temperature": 1.0,
    "learning_rate": 1e-5,
    "num_generations": 16,
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 4,
}
"""What open-r1, DAPO and Dr. GRPO found to serve small code models."""

GRPO = {"paper": PAPER, "small-code": SMALL_CODE}

SFT: dict[str, Any] = _COMMON | {
    "learning_rate": 2e-5,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "completion_only_loss": True,
    "packing": False,
}
"""LSA Eq. (9): the negative log-likelihood of the expert's answer, not of the prompt."""

_FIXED: dict[str, tuple[Any, str]] = {"resume_from_checkpoint": (None, "use --resume")}

GRPO_FIXED: dict[str, tuple[Any, str]] = _FIXED | {
    "reward_weights": (None, "use --terms"),
    "remove_unused_columns": (False, "the rewards read a column that the model does not"),
    "log_completions": (True, "the folder of the run has all completions"),
    "num_completions_to_print": (0, "the folder of the run has all completions"),
}
"""Field -> its value and why no other is taken."""

SFT_FIXED: dict[str, tuple[Any, str]] = _FIXED | {
    "max_length": (None, "use --prompt_budget and --max_new_tokens"),
    "chat_template_path": (None, "use --chat_template"),
}
"""The same of SFT."""

EMBEDDED_RATE = {"learning_rate": 1e-3}
"""What a network of a million parameters takes in place of a large model's learning rate."""

"""Rewards of completions, as arrays and for TRL; SFT, GRPO, and what was learned."""

"""Rewards of completions, as arrays and in the form that TRL takes."""

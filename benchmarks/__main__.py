"""`python -m benchmarks [--quick]`: those with a --quick size, one after the other."""

import subprocess
import sys

NAMES = (
    "simulator",
    "monte_carlo",
    "monte_carlo_costs",
    "assignment",
    "duals",
    "qap",
    "sandbox",
    "rewards",
    "agents",
    "prompts",
    "prefix",
    "attention",
    "shared_prompt",
)

if __name__ == "__main__":
    for name in NAMES:
        print(f"== benchmarks.{name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=True)

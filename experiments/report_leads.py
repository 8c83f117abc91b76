"""What to see in a study's rows: a sentence made of its numbers."""

import pandas as pd

from experiments import anytime, context, methods, shares
from experiments.report_numbers import interval, number
from experiments.report_tables import axes_of
from experiments.small_scale import contradictions


def last_cell(table: pd.DataFrame) -> pd.DataFrame:
    """The last cell, by method."""
    return table[table["place"] == table["place"].iloc[-1]].set_index("method")


def best(table: pd.DataFrame) -> str:
    """What gaps are measured to."""
    return str(table["gaps_to"].iloc[0])


def of_values(table: pd.DataFrame) -> str:
    last = last_cell(table)
    valued = last[last["mean"].notna()]
    top = valued["mean"].max()
    near = valued[valued["mean"] >= 0.999 * top].sort_values("seconds")
    unit, name = valued["unit"].iloc[0], near.index[0]
    said = (
        f"At {table['place'].iloc[-1]} the best mean is {number(top)} {unit}; the fastest method "
        f"within 0.1 % of it is {name}, in {number(1e3 * near['seconds'].iloc[0], 2)} ms."
    )
    parts = []
    for method in ("LLM (code)", "Agent, one by one", "PPO, joint", "DQN, joint", "Random"):
        if method in valued.index:
            row = valued.loc[method]
            gap = interval(max(row["gap_percent"], 0.0), row["gap_half_percent"])
            parts.append(f"{method} {gap} %")
    return f"{said} Below {best(table)}: {'; '.join(parts)}." if parts else said


def of_small(table: pd.DataFrame) -> str:
    said = of_values(table)
    beside = "paper_mean" in table and table["paper_mean"].notna().any()
    return f"{said} {contradictions()}" if beside else said


def of_choice(table: pd.DataFrame) -> str:
    best = table[table["best"].astype(bool)]
    counts = best["method"].value_counts()
    parts = ", ".join(f"{name} in {count}" for name, count in counts.items())
    return f"Best in time, of {table['place'].nunique()} places: {parts}."


def of_anytime(table: pd.DataFrame) -> str:
    return f"Ahead in {' '.join(anytime.leads(table))}"


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["agent_seed"].isna()] if "agent_seed" in table else table


def of_agents(table: pd.DataFrame) -> str:
    last = last_cell(over_seeds(table))
    if "agent" not in last:
        return of_values(table)
    own = last[last["agent"].notna()]
    gaps = [
        f"{name} is {interval(row['gap_percent'], row['gap_half_percent'])} % below {best(table)}"
        for name, row in own.iterrows()
    ]
    if "Order alone" in last.index:
        gaps.append(
            f"its order without a network {number(last.loc['Order alone', 'gap_percent'])} %"
        )
    where = table["place"].iloc[-1]
    return f"At {where} {', '.join(gaps)}." if gaps else of_values(table)


def of_latency(table: pd.DataFrame) -> str:
    last = last_cell(table)
    last = last[last["seconds"].notna()].sort_values("seconds")
    ends = [f"{number(1e3 * last['seconds'].iloc[i], 3)} ms ({last.index[i]})" for i in (0, -1)]
    said = f"At {table['place'].iloc[-1]} a decision takes from {' to '.join(ends)}."
    theirs = table[table["paper_s"].notna() & table["method"].str.startswith("LLM")]
    if len(theirs):
        ratio = (theirs["paper_s"] / theirs["seconds"]).median()
        said += (
            f" The embedded model, which is no code model, is {number(ratio, 2)} times as fast as "
            "the paper's LLM."
        )
    return said


def of_context(table: pd.DataFrame) -> str:
    """Which budgets were best and worst for the model, what they cost, and what levels add."""
    levels = table[table["level_percent"].notna() & (table["method"] == methods.LLM_RAW)]
    table = table[table["prompt_level"] == context.ALL]
    own = table[table["method"].str.startswith("LLM (") & table["skipped"].isna()]
    if own.empty:
        return of_values(table)
    ends = [own.loc[own["gap_percent"].idxmin()], own.loc[own["gap_percent"].idxmax()]]
    shown = [
        f"{interval(row['gap_percent'], row['gap_half_percent'])} % ({row['place']})"
        for row in ends
    ]
    seconds = [number(1e3 * s, 3) for s in (own["seconds"].min(), own["seconds"].max())]
    said = (
        f"The model's answers, repaired, are {shown[0]} to {shown[1]} below {best(table)}; a "
        f"decision takes {seconds[0]} to {seconds[1]} ms. {len(own)} of "
        f"{table['place'].nunique()} prompts fit into its context."
    )
    adds = [
        f"{row['prompt_level']} {interval(row['level_percent'], row['level_half_percent'])} %"
        for row in levels.to_dict("records")
    ]
    return f"{said} What levels add, repair off: {'; '.join(adds)}." if adds else said


def of_power(table: pd.DataFrame) -> str:
    parts = []
    for problem, own in table.groupby("problem", sort=False):
        row = own.loc[own["gain_percent"].idxmax()]
        gain = interval(row["gain_percent"], row["gain_half_percent"])
        parts.append(f"{problem}: {gain} % ({row['method']}, {row['place']})")
    return f"The most that is gained over equal powers, by problem: {'; '.join(parts)}."


def of_horizon(table: pd.DataFrame) -> str:
    last = last_cell(table)
    fair, rich = last["jain_index"].idxmax(), last["throughput_mbps"].idxmax()
    return (
        f"At {table['place'].iloc[-1]} {rich} has the most throughput, "
        f"{number(last.loc[rich, 'throughput_mbps'])} Mbit/s a slot with a Jain's index of "
        f"{number(last.loc[rich, 'jain_index'], 3)}; the fairest is {fair}, "
        f"{number(last.loc[fair, 'throughput_mbps'])} Mbit/s with "
        f"{number(last.loc[fair, 'jain_index'], 3)}."
    )


def of_adaptation(table: pd.DataFrame) -> str:
    moved = table[table["move"] != "home"]
    parts = []
    for method in ("LLM, repair off", "LAP on values", "PPO, joint", "PPO, sequential"):
        own = moved[(moved["method"] == method) & moved["lost_percent"].notna()]
        ended = int(moved[moved["method"] == method]["gap_percent"].isna().sum())
        if own.empty and not ended:
            continue
        said = "cannot run" if own.empty else ""
        if len(own):
            worst = own.loc[own["lost_percent"].idxmax()]
            lost = interval(max(worst["lost_percent"], 0.0), worst["lost_half_percent"])
            said = f"at most {lost} % ({worst['move']})"
        parts.append(f"{method} {said}" + (f", N/A after {ended}" if ended and len(own) else ""))
    count = moved["move"].nunique()
    return f"Lost without being adapted, over {count} moves from home: {'; '.join(parts)}."


def of_ablation(table: pd.DataFrame) -> str:
    own = over_seeds(table)
    own = own[(own["place"] == own["place"].iloc[0]) & own["raw_valid_percent"].notna()]
    shown = [
        f"{row['method']} {shares.valid(row).text(' %')}, {shares.valid(row).counted}"
        for row in own.to_dict("records")
    ]
    return f"Valid answers at {own['place'].iloc[0]}, repair off: {'; '.join(shown)}."


def of_dynamics(table: pd.DataFrame) -> str:
    valid = table[table["part"] == "valid"]
    first, last = (valid[valid["step"] == s].set_index("method") for s in _ends(valid))
    shown = [
        f"{name} {interval(100 * row['mean'], 100 * row['mean_half'])} %"
        for name, row in last.iterrows()
    ]
    return (
        f"Valid answers in the last of {valid['step'].max():.0f} steps, from "
        f"{100 * first['mean'].min():.0f} to {100 * first['mean'].max():.0f} % in the first: "
        f"{'; '.join(shown)}."
    )


def _ends(table: pd.DataFrame) -> tuple[float, float]:
    return table["step"].min(), table["step"].max()


def of_repair(table: pd.DataFrame) -> str:
    found = table[table["what"] == "search"].sort_values("worst_ratio")
    paper = found[found["model"].str.contains("paper")].iloc[0]
    usual = table[table["what"] == "random answers"]
    return (
        f"Within the paper's ranges the repair keeps {number(paper['worst_ratio'], 3)} of the best "
        "that keeps as many suggestions in the worst slot that was found; in "
        f"'{found['model'].iloc[0]}' {number(found['worst_ratio'].iloc[0], 2)}; of random answers "
        f"{number(usual['mean_ratio'].min(), 3)} to {number(usual['mean_ratio'].max(), 5)} in the "
        "mean."
    )


def of_rewards(table: pd.DataFrame) -> str:
    own = table[table["form"] == "paper"]
    fakes = own[~own["honest"].astype(bool)]
    top = fakes.groupby("program")["total"].mean().sort_values().index[-1]
    plain = own[own["program"] == "random"]["total"].mean()
    return (
        f"In the paper's form an honest random program earns {number(plain, 3)} in the mean, and "
        f"the best paid of the degenerate ones, '{top}', "
        f"{number(fakes[fakes['program'] == top]['total'].mean(), 3)}."
    )


def of_any(table: pd.DataFrame) -> str:
    if "mean_label" in table and axes_of(table):
        return of_values(table)
    return f"{len(table)} rows."

"""What a slot asks for, in words and formulas: the lines that all slots of a setting share."""

import numpy as np

from llm.decision.namespace import EXTRA_NAMES, extra_data
from llm.decision.slot import HostSlot

_FADING = {
    None: "power of each user",
    "Rayleigh": "power of each pair, independent Rayleigh fading",
    "Rician": "power of each pair, independent Rician fading",
    "multipath": "power of each pair, fading alike on channels of near ids",
}


def setting_lines(slot: HostSlot, time_budget_s: float | None, *, brief: bool = False) -> str:
    """Objective with its parameters, what rates depend on, time budget, names of the setting.

    Args:
        slot: one of the setting.
        time_budget_s: None where no program is asked for; the names are then left out [s].
        brief: without what a program finds under the names.
    """
    setting = slot.setting if brief else f"{slot.setting}; {_rates(slot)}"
    lines = [f"Objective: maximise {objective(slot, brief=brief)}", f"Setting: {setting}"]
    if time_budget_s is not None:
        lines.append(f"Time budget: {time_budget_s:g} s")
        names = (f"{name} {EXTRA_NAMES[name]}".strip() for name in extra_data(slot))
        if more := ", ".join(names):
            lines.append(f"More variables: {more}")
    return "\n".join(lines) + "\n"


def objective(slot: HostSlot, *, brief: bool = False) -> str:
    """The objective in a formula, r_i being the rate of user i in bit/s; see `lsajax.objective`.

    Brief, it leaves out the parameters of coupling and needs.
    """
    value = "r_i"
    if slot.objective == "fair":
        value = "((1 + r_i / 1e6) ** (1 - alpha) - 1) / (1 - alpha)"
        if slot.alpha == 1:
            value = "log(1 + r_i / 1e6)"
    if slot.weight is not None:
        value = f"weight_i * {value}"
    if slot.min_rate_bps is not None and slot.min_rate_value > 0:
        value = f"({value} + {_number(slot.min_rate_value)} * min(1, r_i / min_rate_i))"
    text = f"sum_i {value}"
    if slot.objective == "fair":
        text += f" (fair, alpha = {slot.alpha:g})"
    if slot.objective == "coupled":
        parameters = "" if brief else f"; {_coupling(slot)}"
        text += f" - mu * sum_ij G_ij * rho_mn (coupled; i on channel m, j on n{parameters})"
    if slot.min_rate_bps is not None:
        text += "; needs: r_i >= min_rate_i"
        text += "" if brief else f", {_range(slot.min_rate_bps / 1e6)} Mbit/s"
    return text


def _coupling(slot: HostSlot) -> str:
    together, near = "given", "given"
    if slot.coupling is None:
        together = f"exp(-distance / {slot.coupling_length_m:g} m)"
    if slot.leakage is None:
        near = f"{slot.adjacent_leakage:g}^|m-n| up to |m-n| = 2"
    return f"mu = {slot.coupling_bps / 1e6:g} Mbit/s, G = {together}, rho = {near}"


def _number(value: float) -> str:
    """Six digits, and no sign where an exponent has none to tell: 1e6."""
    return f"{value:g}".replace("e+0", "e")


def _range(values: np.ndarray) -> str:
    if values.size == 0:
        return "none"
    low, high = _number(values.min()), _number(values.max())
    return low if low == high else f"{low} to {high}"


def _rates(slot: HostSlot) -> str:
    """What the rates depend on."""
    words = [_FADING[slot.fading]]
    if slot.mean_power_w.ndim > 1:
        words = ["power of each pair as measured", *words[slot.fading is None :]]
    if slot.carrier_gain is not None:
        words.append("times a factor of the channel")
    if slot.interference_w is not None:
        pairs = slot.interference_w.ndim > 1
        words.append(f"interference of each {'pair' if pairs else 'channel'}")
    if slot.snr_gap is not None:
        words.append(f"P divided by an SNR gap of {10 * np.log10(slot.snr_gap):.1f} dB")
    if slot.max_spectral_efficiency is not None:
        words.append(f"at most {slot.max_spectral_efficiency:g} bit/s/Hz")
    return ", ".join(words)

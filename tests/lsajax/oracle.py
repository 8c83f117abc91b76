"""The slow, obvious path: NumPy float64, loops where a loop is the definition."""

import math

import numpy as np

UTILITY_UNIT_BPS = 1e6
NEUTRAL = {
    "carrier_gain": 1.0,
    "interference_w": 0.0,
    "snr_gap": 1.0,
    "max_spectral_efficiency": np.inf,
    "weight": 1.0,
    "min_rate_bps": 0.0,
}
"""What stands for a field that is absent."""
PRESENT = ("mean_power_w", "bandwidth_hz", "noise_psd_w_hz", "position_m", "alpha")
COUPLING = ("min_rate_value", "coupling_bps", "coupling_length_m", "adjacent_leakage")


def received_power(distance_m, tx_power_dbm, carrier_hz, exponent, tx_dbi=0.0, rx_dbi=0.0):
    wavelength = 299_792_458.0 / carrier_hz
    budget_dbm = tx_power_dbm + tx_dbi + rx_dbi + 20 * math.log10(wavelength / (4 * math.pi))
    return 10 ** ((budget_dbm - 10 * exponent * math.log10(max(distance_m, 1.0)) - 30) / 10)


def to_float64(inst, fading=None):
    """The instance's fields as NumPy float64 arrays by name, neutral where they are absent.

    `power` [users, channels] is the received power with `fading`, and `floor` noise plus I_m.
    """
    v = {name: np.asarray(getattr(inst, name), np.float64) for name in (*PRESENT, *COUPLING)}
    for name, neutral in NEUTRAL.items():
        value = getattr(inst, name)
        v[name] = np.asarray(neutral if value is None else value, np.float64)
    v["occupied"], v["user_mask"] = np.asarray(inst.occupied), np.asarray(inst.user_mask)
    K, M = inst.num_rows, inst.num_channels
    v["weight"], v["min_rate_bps"] = (np.broadcast_to(v[n], K) for n in ("weight", "min_rate_bps"))
    power = v["mean_power_w"] if v["mean_power_w"].ndim == 2 else v["mean_power_w"][:, None]
    power = power * v["carrier_gain"] * (1.0 if fading is None else fading)
    v["power"] = np.broadcast_to(power, (K, M))
    v["floor"] = np.broadcast_to(
        v["noise_psd_w_hz"] * v["bandwidth_hz"] + v["interference_w"], (K, M)
    )
    return v


def _rate(v, i, m, rivals=0.0):
    sinr = v["power"][i, m] / v["snr_gap"] / (v["floor"][i, m] + rivals)
    efficiency = min(math.log1p(sinr) / math.log(2), v["max_spectral_efficiency"])
    return v["bandwidth_hz"][m] * efficiency


def rate_matrix(inst, fading=None):
    v = to_float64(inst, fading)
    rate = np.zeros(v["power"].shape)
    for i, m in np.ndindex(*rate.shape):
        if v["user_mask"][i] and not v["occupied"][m]:
            rate[i, m] = _rate(v, i, m)
    return rate


def user_rates(inst, assignment, fading=None):
    """Rate of each user; those on one channel are disturbed by each other."""
    v = to_float64(inst, fading)
    rate = np.zeros(len(assignment))
    for m in np.flatnonzero(~v["occupied"]):
        users = [i for i, a in enumerate(assignment) if a == m and v["user_mask"][i]]
        for i in users:
            rate[i] = _rate(v, i, m, sum(v["power"][j, m] for j in users if j != i))
    return rate


def throughput(inst, assignment, fading=None):
    return user_rates(inst, assignment, fading).sum()


def fair_utility(rate, alpha):
    """Mo and Walrand's utility of 1 + x, x in Mbit/s, less that of 1."""
    log = np.log1p(np.asarray(rate, np.float64) / UTILITY_UNIT_BPS)
    # (1 + x)^(1 - alpha) - 1, with the digits that the subtraction would lose at small x.
    return log if alpha == 1 else np.expm1((1 - alpha) * log) / (1 - alpha)


def user_values(inst, rate):
    """Value of each user at its rate, [users] or [users, channels]."""
    v = to_float64(inst)
    column = (slice(None), *(None,) * (np.ndim(rate) - 1))
    value = fair_utility(rate, float(v["alpha"])) if inst.objective == "fair" else rate
    value = v["weight"][column] * value
    need = v["min_rate_bps"][column]
    met = np.minimum(rate, need) / np.where(need > 0, need, 1)
    return value + v["min_rate_value"] * met


def value_matrix(inst, fading=None):
    return user_values(inst, rate_matrix(inst, fading))


def objective_value(inst, assignment, fading=None):
    value = user_values(inst, user_rates(inst, assignment, fading)).sum()
    return value - coupling_loss(inst, assignment) if inst.objective == "coupled" else value


def violations(inst, assignment, fading=None):
    v = to_float64(inst)
    M = len(v["bandwidth_hz"])
    unknown = occupied = duplicate = unserved = 0
    seen = set()
    for i, a in enumerate(assignment):
        if not v["user_mask"][i]:
            continue
        if a == -1:
            unserved += 1
        elif a < 0 or a >= M:
            unknown += 1
        elif v["occupied"][a]:
            occupied += 1
        elif a in seen:
            duplicate += 1
        else:
            seen.add(a)
    below = (user_rates(inst, assignment, fading) < v["min_rate_bps"]) & v["user_mask"]
    return unknown, occupied, duplicate, unserved, below.sum()


def repair(inst, raw, gain):
    """Theorem 1 with the sorted rule, by dictionaries.

    `gain[i, m]` decides who keeps a contested channel, then the mean power.
    """
    v = to_float64(inst)
    mean = v["mean_power_w"]
    mean = mean[:, ~v["occupied"]].mean(axis=1) if mean.ndim == 2 else mean
    holder = {}
    for i, a in enumerate(raw):
        valid = v["user_mask"][i] and 0 <= a < len(v["bandwidth_hz"]) and not v["occupied"][a]
        if not valid:
            continue
        now = holder.get(a)
        if now is None or (gain[i, a], mean[i]) > (gain[now, a], mean[now]):
            holder[int(a)] = i
    out = np.full(len(raw), -1)
    for m, i in holder.items():
        out[i] = m
    users = np.argsort(-mean, kind="stable")
    users = [i for i in users if v["user_mask"][i] and out[i] < 0]
    channels = np.argsort(-v["bandwidth_hz"], kind="stable")
    channels = [m for m in channels if not v["occupied"][m] and m not in holder]
    for i, m in zip(users, channels, strict=False):
        out[i] = m
    return out


def user_coupling(inst):
    """G of Eq. (8), 0 on the diagonal and for padding."""
    v = to_float64(inst)
    if inst.coupling is not None:
        G = np.array(inst.coupling, np.float64)
    else:
        apart = np.linalg.norm(v["position_m"][:, None] - v["position_m"], axis=-1)
        G = np.exp(-apart / v["coupling_length_m"])
    G = G * (v["user_mask"][:, None] & v["user_mask"])
    np.fill_diagonal(G, 0.0)
    return G


def channel_leakage(inst):
    """rho of Eq. (8)."""
    if inst.leakage is not None:
        return np.asarray(inst.leakage, np.float64)
    channel = np.arange(inst.num_channels)
    apart = np.abs(channel[:, None] - channel)
    return np.where((apart >= 1) & (apart <= 2), float(inst.adjacent_leakage) ** apart, 0.0)


def coupling_loss(inst, assignment):
    """mu sum_ij sum_mn G_ij rho_mn x_im x_jn; of users on one channel the last alone is on it."""
    x = np.zeros((inst.num_rows, inst.num_channels))
    for i, m in enumerate(assignment):
        if 0 <= m < inst.num_channels and inst.user_mask[i] and not inst.occupied[m]:
            x[:, m] = 0
            x[i, m] = 1
    return float(inst.coupling_bps) * np.sum(
        user_coupling(inst) * (x @ channel_leakage(inst) @ x.T)
    )

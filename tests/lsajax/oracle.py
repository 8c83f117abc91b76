"""The slow, obvious path: NumPy float64, loops where a loop is the definition."""

import math

import numpy as np

FLOAT_FIELDS = (
    "mean_power_w",
    "bandwidth_hz",
    "carrier_gain",
    "interference_w",
    "noise_psd_w_hz",
    "position_m",
)


def received_power(distance_m, tx_power_dbm, carrier_hz, exponent, tx_dbi=0.0, rx_dbi=0.0):
    wavelength = 299_792_458.0 / carrier_hz
    budget_dbm = tx_power_dbm + tx_dbi + rx_dbi + 20 * math.log10(wavelength / (4 * math.pi))
    return 10 ** ((budget_dbm - 10 * exponent * math.log10(max(distance_m, 1.0)) - 30) / 10)


def to_float64(inst):
    """The instance's fields as NumPy float64 arrays, by name."""
    values = {name: np.asarray(getattr(inst, name), np.float64) for name in FLOAT_FIELDS}
    values["occupied"] = np.asarray(inst.occupied)
    values["user_mask"] = np.asarray(inst.user_mask)
    return values


def rate_matrix(inst, fading=None):
    v = to_float64(inst)
    K, M = len(v["mean_power_w"]), len(v["bandwidth_hz"])
    rate = np.zeros((K, M))
    for i in range(K):
        for m in range(M):
            if v["occupied"][m] or not v["user_mask"][i]:
                continue
            power = v["mean_power_w"][i] * v["carrier_gain"][m]
            power *= 1.0 if fading is None else fading[i, m]
            noise = v["noise_psd_w_hz"] * v["bandwidth_hz"][m] + v["interference_w"][m]
            rate[i, m] = v["bandwidth_hz"][m] * math.log1p(power / noise) / math.log(2)
    return rate


def throughput(inst, assignment, fading=None):
    """Sum over channels of the rates of the users on it, each disturbed by the others."""
    v = to_float64(inst)
    total = 0.0
    for m in range(len(v["bandwidth_hz"])):
        users = [i for i, a in enumerate(assignment) if a == m and v["user_mask"][i]]
        if v["occupied"][m]:
            continue
        power = {i: v["mean_power_w"][i] * v["carrier_gain"][m] for i in users}
        if fading is not None:
            power = {i: p * fading[i, m] for i, p in power.items()}
        for i in users:
            rivals = sum(p for j, p in power.items() if j != i)
            floor = v["noise_psd_w_hz"] * v["bandwidth_hz"][m] + v["interference_w"][m]
            total += v["bandwidth_hz"][m] * math.log1p(power[i] / (floor + rivals)) / math.log(2)
    return total


def violations(inst, assignment):
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
    return unknown, occupied, duplicate, unserved


def repair(inst, raw, gain):
    """Theorem 1 with the sorted rule, by dictionaries; `gain[i, m]` is the instantaneous gain."""
    v = to_float64(inst)
    holder = {}
    for i, a in enumerate(raw):
        valid = v["user_mask"][i] and 0 <= a < len(v["bandwidth_hz"]) and not v["occupied"][a]
        if valid and (a not in holder or gain[i, a] > gain[holder[a], a]):
            holder[int(a)] = i
    out = np.full(len(raw), -1)
    for m, i in holder.items():
        out[i] = m
    users = np.argsort(-v["mean_power_w"], kind="stable")
    users = [i for i in users if v["user_mask"][i] and out[i] < 0]
    channels = np.argsort(-v["bandwidth_hz"], kind="stable")
    channels = [m for m in channels if not v["occupied"][m] and m not in holder]
    for i, m in zip(users, channels, strict=False):
        out[i] = m
    return out


def coupling_loss(inst, assignment, mu, length_m, leakage):
    v = to_float64(inst)
    total = 0.0
    for i, m in enumerate(assignment):
        for j, n in enumerate(assignment):
            if i == j or m < 0 or n < 0 or not 1 <= abs(m - n) <= 2:
                continue
            if not (v["user_mask"][i] and v["user_mask"][j]):
                continue
            if v["occupied"][m] or v["occupied"][n]:
                continue
            apart = np.linalg.norm(v["position_m"][i] - v["position_m"][j])
            total += math.exp(-apart / length_m) * leakage ** abs(m - n)
    return mu * total

"""Networks from files: equal instances from every format, and a clear error per mistake."""

import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import io

import lsajax as lsa
from experiments import networks, scaling
from experiments.scaling import Config

USERS, CHANNELS, SLOTS = 4, 6, 3


def fields():
    """A whole network, in units that are not SI where a name can say so."""
    rng = np.random.default_rng(0)
    return {
        "received_power_dbm": rng.uniform(-110, -60, (USERS, CHANNELS, SLOTS)),
        "bandwidth_mhz": rng.uniform(5, 20, CHANNELS),
        "interference_dbm": rng.uniform(-120, -100, (USERS, CHANNELS, SLOTS)),
        "noise_figure_db": 5.0,
        "user_id": np.array([7, 11, 13, 400]),
        "channel_id": np.array([36, 40, 44, 48, 149, 153]),
        "position_m": rng.uniform(-100, 100, (USERS, 2)),
        "occupied": rng.random((CHANNELS, SLOTS)) < 0.3,
        "user_mask": np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], bool),
        "weight": np.array([1.0, 2.0, 1.0, 4.0]),
    }


def long_form(given):
    """The table of `fields`, a row per user, channel and slot in no order."""
    i, m, t = (x.ravel() for x in np.indices((USERS, CHANNELS, SLOTS)))
    table = pd.DataFrame(
        {
            "user_id": given["user_id"][i],
            "channel_id": given["channel_id"][m],
            "slot": t,
            "received_power_dbm": given["received_power_dbm"][i, m, t],
            "bandwidth_mhz": given["bandwidth_mhz"][m],
            "interference_dbm": given["interference_dbm"][i, m, t],
            "noise_figure_db": given["noise_figure_db"],
            "position_x_m": given["position_m"][i, 0],
            "position_y_m": given["position_m"][i, 1],
            "occupied": given["occupied"][m, t],
            "user_mask": given["user_mask"][i, t],
            "weight": given["weight"][i],
        }
    )
    return table.sample(frac=1, random_state=0)


def write(path, given):
    if path.suffix == ".npz":
        np.savez(path, **given)
    elif path.suffix == ".mat":
        io.savemat(path, given)  # as MATLAB has it: all of two dimensions, booleans as uint8
    else:
        long_form(given).to_parquet(path)
    return path


def dbm(power_w):
    return 10 * np.log10(np.asarray(power_w, float)) + 30


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".parquet"])
def test_every_format_gives_the_same_instances(tmp_path, suffix):
    given = fields()
    network = networks.read(write(tmp_path / f"net{suffix}", given))
    assert (network.num_users, network.num_channels, network.num_slots) == (USERS, CHANNELS, SLOTS)
    for slot in range(SLOTS):
        inst = network.instance(slot)
        power, i_m = given["received_power_dbm"], given["interference_dbm"]
        np.testing.assert_allclose(dbm(inst.mean_power_w), power[..., slot], atol=1e-3)
        np.testing.assert_allclose(dbm(inst.interference_w), i_m[..., slot], atol=1e-3)
        np.testing.assert_allclose(inst.bandwidth_hz, 1e6 * given["bandwidth_mhz"], rtol=1e-6)
        np.testing.assert_allclose(dbm(inst.noise_psd_w_hz), -169, atol=1e-3)
        np.testing.assert_allclose(inst.position_m, given["position_m"], rtol=1e-5)
        np.testing.assert_array_equal(inst.user_id, given["user_id"])
        np.testing.assert_array_equal(inst.occupied, given["occupied"][:, slot])
        np.testing.assert_array_equal(inst.user_mask, given["user_mask"][:, slot])
        np.testing.assert_array_equal(inst.weight, given["weight"])


def test_a_gain_and_a_transmit_power_are_a_received_power():
    gain_db = np.random.default_rng(1).uniform(-130, -80, (3, 2, 2))
    network = networks.from_fields(
        {"gain_db": gain_db, "tx_power_dbm": [10.0, 20.0, 23.0], "bandwidth_khz": 180.0}
    )
    inst = network.instance(1)
    expected = gain_db[..., 1] + np.array([[10.0], [20.0], [23.0]])
    np.testing.assert_allclose(dbm(inst.mean_power_w), expected, atol=1e-3)
    np.testing.assert_allclose(inst.bandwidth_hz, [180e3] * 2)
    np.testing.assert_array_equal(network.channel_id, [0, 1])
    linear = networks.from_fields(
        {"gain": 10 ** (gain_db / 10), "tx_power_w": 0.1, "bandwidth_hz": [1e6, 2e6]}
    )
    np.testing.assert_allclose(
        dbm(linear.instance(0).mean_power_w), gain_db[..., 0] + 20, atol=1e-3
    )


def test_no_power_is_minus_infinity_decibels_and_vectors_are_columns_in_matlab(tmp_path):
    given = {"received_power_dbm": np.array([-90.0, -np.inf, -70.0]), "bandwidth_hz": [1e6, 2e6]}
    io.savemat(tmp_path / "a.mat", given, oned_as="column")
    inst = networks.read(tmp_path / "a.mat").instance()
    np.testing.assert_allclose(inst.mean_power_w, [1e-12, 0.0, 1e-10], rtol=1e-5)
    assert inst.num_channels == 2 and not inst.power_per_pair


def test_one_file_serves_every_objective():
    given = {**fields(), "alpha": 2.0, "coupling_mbps": 5.0, "adjacent_leakage": 0.25}
    fair = networks.from_fields(given, objective="fair").instance()
    assert fair.objective == "fair" and float(fair.alpha) == 2.0
    coupled = networks.from_fields(given, objective="coupled").instance()
    assert float(coupled.coupling_bps) == 5e6 and float(coupled.adjacent_leakage) == 0.25
    assert networks.from_fields(given).instance().objective == "throughput"
    with pytest.raises(ValueError, match=r"network: coupling_bps .* must be given"):
        networks.from_fields(fields(), objective="coupled")


def changed(**changes):
    given = {**fields(), **changes}
    return {name: value for name, value in given.items() if value is not None}


POWER = np.full((USERS, CHANNELS), 1e-10)
NAN = np.where(np.arange(CHANNELS) == 4, np.nan, 10.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (changed(received_power_dbm=None), "needs the field received_power_w or received_power"),
        (changed(bandwidth_mhz=None), "needs the field bandwidth_hz, bandwidth_khz or"),
        (
            changed(received_power_dbm=None, gain_db=-POWER),
            "needs the field tx_power_w or tx_power",
        ),
        (changed(bandwidth_hz=1e7), "bandwidth_mhz and bandwidth_hz say the same: give one"),
        (changed(tx_power_w=0.1), "a received power and a gain or transmit power say the same"),
        (
            changed(interferance_w=POWER),
            r"unknown field interferance_w; did you mean interference_w\?",
        ),
        (changed(occupied=np.zeros(5, bool)), r"occupied must have shape \(6,\) \(channels\) or"),
        (changed(weight=np.ones(6)), r"weight must have shape \(4,\) \(users\), got \(6,\)"),
        (
            changed(received_power_dbm=np.zeros((4, 5))),
            r"received_power_dbm must have shape \(4,\)",
        ),
        (changed(received_power_dbm=np.float64(3)), "must have axes users, users x channels or"),
        (changed(bandwidth_mhz=NAN), r"bandwidth_mhz must be finite.*got nan at index \(4,\)"),
        (
            changed(received_power_dbm=None, received_power_w=-90 * np.ones((USERS, CHANNELS))),
            "received_power_w must be finite and at least 0, got -90.0 .*received_power_dbm",
        ),
        (changed(received_power_dbm=POWER), "must be in decibels, got values between 1e-10 and"),
        (
            changed(received_power_dbm=POWER + 1j),
            "real numbers, got complex128: a power or gain is",
        ),
        (changed(bandwidth_mhz=np.array(["a"] * CHANNELS)), "bandwidth_mhz must be real numbers"),
        (changed(occupied=np.full(CHANNELS, 2)), "occupied must be True or False"),
        (changed(user_id=[1, 1, 2, 3]), "user_id must be distinct integers of at least 0"),
        (changed(weight=np.zeros(USERS)), "weight must be above 0 for at least one user"),
        (changed(bandwidth_mhz=np.zeros(CHANNELS)), "bandwidth_hz must be finite and above 0"),
    ],
)
def test_one_error_names_file_field_what_came_and_what_is_accepted(tmp_path, given, message):
    np.savez(tmp_path / "net.npz", **given)
    with pytest.raises(ValueError, match=message) as caught:
        networks.read(tmp_path / "net.npz")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'net.npz'}: ") and "\n" not in text


def long_form_without(column=None, change=lambda table: table):
    table = change(long_form(fields()))
    return table if column is None else table.drop(columns=column)


def _two_bandwidths(table):
    table.iloc[0, table.columns.get_loc("bandwidth_mhz")] = 1.0
    return table


def _a_gap(table):
    table.iloc[0, table.columns.get_loc("received_power_dbm")] = np.nan
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (long_form_without("channel_id"), "needs the column channel_id"),
        (long_form_without("position_y_m"), "needs the column position_y_m beside the other"),
        (long_form_without(change=lambda t: t.iloc[1:]), "needs a row for each of 4 x 6 x 3"),
        (long_form_without(change=lambda t: pd.concat([t, t[:1]])), "got two of user_id"),
        (long_form_without(change=_two_bandwidths), "bandwidth_mhz must be one value per channel"),
        (long_form_without(change=_a_gap), "received_power_dbm must be finite, got nan"),
        (long_form_without(change=lambda t: t.assign(coupling=0.0)), "coupling cannot be a column"),
    ],
)
def test_a_table_in_long_form_must_be_whole(tmp_path, table, message):
    table.to_parquet(tmp_path / "net.parquet")
    with pytest.raises(ValueError, match=message):
        networks.read(tmp_path / "net.parquet")


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".parquet"])
def test_a_file_that_is_none_of_its_kind(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"no such format, and long enough to have a header" * 8)
    with pytest.raises(ValueError, match=f"{path}: is no "):
        networks.read(path)


def test_no_file_another_format_no_such_slot(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        networks.read(tmp_path / "net.npz")
    with pytest.raises(
        ValueError, match=r"a network is a file \.npz, \.mat, \.parquet, got '\.csv'"
    ):
        networks.read(tmp_path / "net.csv")
    with pytest.raises(ValueError, match=r"slot must be within 0\.\.2, got 3"):
        networks.from_fields(fields()).instance(3)


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".parquet", ".csv"])
def test_assignments_come_back_in_the_ids_of_the_file(tmp_path, suffix):
    network = networks.from_fields(fields())
    key = jax.random.key(0)
    assignment = np.stack(
        [lsa.solvers.hungarian(key, network.instance(t)).assignment for t in range(SLOTS)], axis=1
    )
    path = tmp_path / f"answer{suffix}"
    networks.write_assignment(path, network, assignment)
    if suffix in (".npz", ".mat"):
        back = np.load(path) if suffix == ".npz" else io.loadmat(path)
        found = {
            int(u): list(c)
            for u, c in zip(np.ravel(back["user_id"]), back["assigned_channel_id"], strict=True)
        }
    else:
        table = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
        found = {
            u: list(own.sort_values("slot")["channel_id"]) for u, own in table.groupby("user_id")
        }
    ids = fields()["channel_id"]
    expected = {
        user: [ids[c] if c >= 0 else -1 for c in row]
        for user, row in zip(fields()["user_id"].tolist(), assignment, strict=True)
    }
    assert found == expected and -1 in np.ravel(list(found.values()))


def test_a_wrong_assignment_is_not_written(tmp_path):
    network = networks.from_fields(fields())
    for wrong, message in (
        (np.zeros(3, int), r"integers of shape \(4,\) \(users\) or \(4, 3\)"),
        (np.zeros(4), "got float64"),
        (np.full(4, 6), r"within -1\.\.5, got 6 to 6"),
    ):
        with pytest.raises(ValueError, match=message):
            networks.write_assignment(tmp_path / "a.csv", network, wrong)
    with pytest.raises(ValueError, match=r"\.csv, got '\.txt'"):
        networks.write_assignment(tmp_path / "a.txt", network, np.zeros(4, int))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("objective", ["throughput", pytest.param("fair", marks=pytest.mark.slow)])
def test_the_scaling_study_of_a_network(tmp_path, capsys, objective):
    path = write(tmp_path / "mine.npz", fields())
    options = {"network": path, "model": "none", "objective": objective, "budget_s": 0.01}
    out = tmp_path / "out"
    scaling.run(scaling.prepare(Config(out=out, **options)))
    rows = pd.read_parquet(out / "rows.parquet")
    assert set(rows["realization"]) == {0, 1, 2} and set(rows["scale"]) == {"mine"}
    found = pd.read_parquet(out / "assignments.parquet")
    optimum = found[found["method"] == "Exact optimum"].set_index(["slot", "user_id"])["channel_id"]
    network = networks.read(path, objective=objective)
    index = {int(channel): m for m, channel in enumerate(network.channel_id)}
    for slot in range(SLOTS):
        assignment = np.array([index.get(optimum[slot, user], -1) for user in network.user_id])
        value = float(lsa.objective_value(network.instance(slot), assignment))
        best = float(lsa.solvers.hungarian(jax.random.key(0), network.instance(slot)).value)
        assert value == pytest.approx(best, rel=1e-5)
    assert "network mine.npz" in capsys.readouterr().out
    scaling.run(scaling.prepare(Config(out=out, resume=True, **options)))
    np.savez(path, **changed(weight=None))
    with pytest.raises(ValueError, match="network_sha256 was"):
        scaling.prepare(Config(out=out, resume=True, **options))


def test_a_bad_network_is_one_line_on_the_command_line(tmp_path):
    np.savez(tmp_path / "net.npz", **changed(bandwidth_mhz=None))
    command = [sys.executable, "-m", "experiments.scaling", "--model", "none"]
    done = subprocess.run(
        [*command, "--network", str(tmp_path / "net.npz"), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "needs the field bandwidth_hz" in done.stderr
    assert done.stderr.strip().count("\n") == 0 and not (tmp_path / "out").exists()

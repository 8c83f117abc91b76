"""Networks from files: one's own gains in, assignments out, both under the file's own ids.

A file holds fields by name, and a name says the unit: `received_power_dbm`, `bandwidth_mhz`. Axes
are users x channels x slots, the last where slots differ. `network_fields` lists what is read, and
`network_files` knows the formats.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

import lsajax as lsa
from experiments import network_fields, network_files
from lsajax.instance import READ_BY

_NOISE_PSD_W_HZ = 10 ** (-174 / 10 - 3)


@dataclasses.dataclass(frozen=True)
class Network:
    """Users, channels and slots of one file.

    Attributes:
        name: the file, in messages.
        objective: of its instances, see `lsajax.OBJECTIVES`.
        quantities: by name, in W, Hz, m and bit/s.
        user_id: [users] as in the file.
        channel_id: [channels] as in the file.
        num_slots: how many slots it holds.
    """

    name: str
    objective: str
    quantities: Mapping[str, np.ndarray]
    user_id: np.ndarray
    channel_id: np.ndarray
    num_slots: int

    @property
    def num_users(self) -> int:
        """K."""
        return len(self.user_id)

    @property
    def num_channels(self) -> int:
        """M."""
        return len(self.channel_id)

    @property
    def num_active(self) -> int:
        """Rows of an instance."""
        return self.num_users

    def instance(self, slot: int = 0) -> lsa.Instance:
        """The instance of a slot; its rows and channels are those of the file.

        Raises:
            ValueError: what `lsajax.make_instance` raises, after the file's name.
        """
        if not 0 <= slot < self.num_slots:
            raise ValueError(
                f"{self.name}: slot must be within 0..{self.num_slots - 1}, got {slot}"
            )
        given: dict[str, Any] = {
            name: value
            for name, value in self.quantities.items()
            if READ_BY.get(name, self.objective) == self.objective
        }
        for name, axes in (("occupied", 2), ("user_mask", 2), ("interference_w", 3)):
            if name in given and given[name].ndim == axes:
                given[name] = given[name][..., slot]
        power = given.pop("received_power_w")
        noise = given.pop("noise_psd_w_hz", _NOISE_PSD_W_HZ) * given.pop("noise_figure", 1.0)
        try:
            return lsa.make_instance(
                power[..., slot] if power.ndim == 3 else power,
                given.pop("bandwidth_hz"),
                noise_psd_dbm_hz=10 * np.log10(noise) + 30,
                user_id=self.user_id,
                objective=self.objective,
                **given,
            )
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None

    def channels(self, assignment: np.ndarray) -> np.ndarray:
        """The file's channel ids of an assignment by index, of any shape; -1 stays."""
        return np.where(assignment >= 0, self.channel_id[assignment], -1)


def read(path: pathlib.Path | str, *, objective: str = "throughput") -> Network:
    """The network in a `.npz`, `.mat` or `.parquet` file.

    In Parquet it is in long form: a row per `user_id`, `channel_id` and, where there are several,
    `slot`; what belongs to a user or a channel is repeated, positions are `position_x_m` and
    `position_y_m`.

    Raises:
        ValueError: the file and the field, what came and what is accepted.
        OSError: there is no such file, or it cannot be read.
    """
    path = pathlib.Path(path)
    shapes = {name: field.shapes for name, field in network_fields.FIELDS.items()}
    return from_fields(network_files.read(path, shapes), name=str(path), objective=objective)


def from_fields(
    fields: Mapping[str, Any], *, name: str = "network", objective: str = "throughput"
) -> Network:
    """The network that fields by name describe, as `read` finds them in a file.

    Args:
        fields: arrays or numbers by a name in `network_fields.FIELDS`.
        name: begins every message.
        objective: of its instances.

    Raises:
        ValueError: `name` and the field, what came and what is accepted.
    """
    found, sizes = network_fields.quantities(name, fields)
    gain, tx_power = found.pop("gain", None), found.pop("tx_power_w", None)
    if gain is not None:
        assert tx_power is not None
        sent = tx_power.reshape(tx_power.shape + (1,) * (gain.ndim - 1) if tx_power.ndim else ())
        found["received_power_w"] = gain * sent
    found["bandwidth_hz"] = np.broadcast_to(found["bandwidth_hz"], sizes["M"])
    network = Network(
        name,
        objective,
        user_id=found.pop("user_id", np.arange(sizes["K"])),
        channel_id=found.pop("channel_id", np.arange(sizes["M"])),
        quantities=found,
        num_slots=sizes["S"],
    )
    network.instance(0)  # what it checks is wrong now rather than later
    return network


def write_assignment(path: pathlib.Path | str, network: Network, assignment: np.ndarray) -> None:
    """Writes an assignment to `.npz`, `.mat`, `.parquet` or `.csv`, in the network's ids.

    `.npz` and `.mat` get `user_id` [users] and `assigned_channel_id` of the assignment's shape, the
    tables a row per slot and user; -1 is no channel.

    Args:
        path: its suffix says the format.
        network: whose ids are written.
        assignment: [users] or [users, slots] indices of channels, -1 for none.

    Raises:
        ValueError: another suffix, shape or index.
    """
    assignment = np.asarray(assignment)
    shapes = ((network.num_users,), (network.num_users, network.num_slots))
    if assignment.shape not in shapes or not np.issubdtype(assignment.dtype, np.integer):
        raise ValueError(
            f"assignment must be integers of shape {shapes[0]} (users) or {shapes[1]} (users, "
            f"slots), got {assignment.dtype} of shape {assignment.shape}"
        )
    if assignment.min() < -1 or assignment.max() >= network.num_channels:
        raise ValueError(
            f"assignment must be within -1..{network.num_channels - 1}, got "
            f"{assignment.min()} to {assignment.max()}"
        )
    ids = network.channels(assignment)
    network_files.write_assignment(pathlib.Path(path), network.user_id, ids)

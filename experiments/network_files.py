"""The formats of networks and assignments: `.npz`, `.mat`, Parquet, and CSV to write."""

import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

READ = (".npz", ".mat", ".parquet")
WRITTEN = (*READ, ".csv")

_POSITION = ("position_x_m", "position_y_m")
_KEYS = {"K": "user_id", "M": "channel_id", "S": "slot"}


def read(path: pathlib.Path, shapes: Mapping[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
    """Fields by name.

    Args:
        path: the file.
        shapes: axes of each known field, see `experiments.network_fields.Field`; what a column of a
            table in long form belongs to.

    Raises:
        ValueError: another format, a file of it that cannot be read, or a table that is not a whole
            users x channels x slots.
        OSError: there is no such file.
    """
    suffix = path.suffix.lower()
    if suffix not in READ:
        raise ValueError(f"{path}: a network is a file {', '.join(READ)}, got {suffix or 'none'!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    if suffix == ".parquet":
        return _from_long_form(path, _table(path), shapes)
    return _npz(path) if suffix == ".npz" else _mat(path)


def _npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise ValueError(f"{path}: is no .npz of plain arrays ({_line(error)})") from None


def _mat(path: pathlib.Path) -> dict[str, np.ndarray]:
    from scipy import io

    try:
        fields = io.loadmat(path)
    except NotImplementedError:
        raise ValueError(f"{path}: is a MATLAB file of version 7.3; save it with -v7") from None
    except (ValueError, TypeError, io.matlab.MatReadError) as error:
        raise ValueError(f"{path}: is no MATLAB file ({_line(error)})") from None
    return {name: value for name, value in fields.items() if not name.startswith("_")}


def _table(path: pathlib.Path) -> pd.DataFrame:
    import pyarrow as pa

    try:
        return pd.read_parquet(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path}: is no Parquet file ({_line(error)})") from None


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _from_long_form(
    path: pathlib.Path, table: pd.DataFrame, shapes: Mapping[str, tuple[str, ...]]
) -> dict[str, np.ndarray]:
    """Arrays of a table with a row per user, channel and slot; ids in ascending order."""
    for key in ("user_id", "channel_id"):
        if key not in table:
            raise ValueError(
                f"{path}: needs the column {key}: a row per user_id, channel_id and slot; got "
                f"{', '.join(map(str, table.columns))}"
            )
    if "slot" not in table:
        table = table.assign(slot=0)
    keys = {axis: np.unique(table[key], return_inverse=True) for axis, key in _KEYS.items()}
    ids = {axis: found[0] for axis, found in keys.items()}
    place = {axis: found[1] for axis, found in keys.items()}
    _check_whole(path, table, [len(found) for found in ids.values()])
    fields: dict[str, np.ndarray] = {"user_id": ids["K"], "channel_id": ids["M"]}
    for name in table.columns.drop(list(_KEYS.values())):
        axes = "K" if name in _POSITION else _axes(shapes.get(name, ("KM",)))
        if axes is None:
            raise ValueError(f"{path}: {name} cannot be a column of a table; use .npz or .mat")
        fields[name] = _pivot(path, table, name, axes, ids, place)
    if any(name in fields for name in _POSITION):
        lacking = [name for name in _POSITION if name not in fields]
        if lacking:
            raise ValueError(f"{path}: needs the column {lacking[0]} beside the other coordinate")
        fields["position_m"] = np.stack([fields.pop(name) for name in _POSITION], axis=-1)
    return fields


def _check_whole(path: pathlib.Path, table: pd.DataFrame, sizes: list[int]) -> None:
    keys = list(_KEYS.values())
    twice = table[table.duplicated(keys)]
    if len(twice):
        where = ", ".join(f"{key} {twice.iloc[0][key]:g}" for key in keys)
        raise ValueError(f"{path}: needs one row per user, channel and slot, got two of {where}")
    if len(table) != np.prod(sizes):
        raise ValueError(
            f"{path}: needs a row for each of {' x '.join(map(str, sizes))} users, channels and "
            f"slots, {np.prod(sizes)} in all, got {len(table)}"
        )


def _axes(shapes: tuple[str, ...]) -> str | None:
    """What a column varies with: the longest shape of its field; None for a matrix of others."""
    longest = max(shapes, key=len)
    return longest if set(longest) <= set(_KEYS) and len(set(longest)) == len(longest) else None


def _pivot(
    path: pathlib.Path,
    table: pd.DataFrame,
    name: str,
    axes: str,
    ids: Mapping[str, np.ndarray],
    place: Mapping[str, np.ndarray],
) -> np.ndarray:
    column = table[name].to_numpy()
    array = np.empty([len(ids[axis]) for axis in axes], column.dtype)
    where = tuple(place[axis] for axis in axes)
    array[where] = column if axes else column[0]
    differs = np.flatnonzero((array[where] != column) & ~pd.isna(column))
    if differs.size:
        row = table.iloc[differs[0]]
        at = ", ".join(f"{_KEYS[axis]} {row[_KEYS[axis]]:g}" for axis in axes)
        other = array[tuple(index[differs[0]] for index in where)]
        per = f"per {at}" if at else "for all rows"
        raise ValueError(f"{path}: {name} must be one value {per}, got {row[name]} and {other}")
    return array


def write_assignment(path: pathlib.Path, user_id: np.ndarray, channel_id: np.ndarray) -> None:
    """Writes the channel ids [users] or [users, slots] of users, -1 for none.

    Raises:
        ValueError: the suffix is none of `WRITTEN`.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITTEN:
        raise ValueError(f"{path}: an assignment is a file {', '.join(WRITTEN)}, got {suffix!r}")
    fields: dict[str, Any] = {"user_id": user_id, "assigned_channel_id": channel_id}
    if suffix == ".npz":
        np.savez(path, **fields)
    elif suffix == ".mat":
        from scipy import io

        io.savemat(path, fields, oned_as="column")
    else:
        table = assignment_table(user_id, channel_id)
        if suffix == ".csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path, index=False)


def assignment_table(user_id: np.ndarray, channel_id: np.ndarray) -> pd.DataFrame:
    """A row per slot and user: `slot`, `user_id`, `channel_id`."""
    by_slot = channel_id.reshape(len(user_id), -1).T
    return pd.DataFrame(
        {
            "slot": np.repeat(np.arange(len(by_slot)), len(user_id)),
            "user_id": np.tile(user_id, len(by_slot)),
            "channel_id": by_slot.ravel(),
        }
    )

"""What every solver of instances asks of its input."""

from lsajax.instance import Instance


def check_one_slot(inst: Instance) -> None:
    """Raises ValueError for a batch of instances, which has to come through vmap."""
    if inst.mean_power_w.ndim != 1 or inst.bandwidth_hz.ndim != 1:
        raise ValueError(
            f"inst must be one slot, got a batch with mean_power_w {list(inst.mean_power_w.shape)} "
            f"and bandwidth_hz {list(inst.bandwidth_hz.shape)}; map over a batch with jax.vmap"
        )

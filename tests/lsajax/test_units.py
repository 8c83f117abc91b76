import numpy as np
import pytest

from lsajax import units


@pytest.mark.parametrize(("dbm", "watt"), [(30, 1.0), (0, 1e-3), (23, 10**-0.7), (-174, 10**-20.4)])
def test_dbm_to_w_and_back(dbm, watt):
    np.testing.assert_allclose(units.dbm_to_w(dbm), watt, rtol=1e-5)
    np.testing.assert_allclose(units.w_to_dbm(watt), dbm, atol=1e-4)


def test_no_power_is_minus_infinity_dbm():
    assert units.w_to_dbm(0.0) == -np.inf

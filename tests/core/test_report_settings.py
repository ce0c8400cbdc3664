"""Settings of a report: reuse and constants for derived numbers."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.report_settings import NONE, ReportSettings

_AMOUNTS = st.none() | st.floats(0, 1e9)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)


@given(
    st.builds(
        ReportSettings,
        reuse=st.none() | st.floats(1e-6, 1e9),
        pue=st.none() | st.floats(1, 9),
        carbon_g_per_kwh=_AMOUNTS,
        price_per_kwh=_AMOUNTS,
        currency=st.none() | st.text(),
    )
)
def test_plans_come_back_from_a_study(plans: ReportSettings) -> None:
    assert ReportSettings.from_dict(json.loads(json.dumps(plans.to_dict()))) == plans


@given(_ANYTHING | st.dictionaries(st.sampled_from(list(NONE.to_dict())), _ANYTHING))
def test_what_is_no_plan_is_unsaid(said: object) -> None:
    plans = ReportSettings.from_dict(said)
    assert plans.reuse is None or 0 < plans.reuse < math.inf
    assert plans.pue is None or 1 <= plans.pue < math.inf
    for amount in (plans.carbon_g_per_kwh, plans.price_per_kwh):
        assert amount is None or 0 <= amount < math.inf
    assert plans.currency is None or isinstance(plans.currency, str)

"""Parameters of the simulated company. A test compares the table in `deploy/demo/README.md` with these defaults."""

from typing import NamedTuple


class Parameters(NamedTuple):
    """Probabilities per occasion, rates per week of service, shocks in points of satisfaction (0 to 100)."""

    months: int = 22
    business: float = 0.15
    lost_inquiry: float = 0.10
    stock_outs_per_year: float = 4.0
    stock_out_days: tuple[int, int] = (8, 26)
    installation_late: float = 0.18
    satisfaction_mean: float = 69.0
    satisfaction_spread: float = 11.0
    half_life_days: float = 75.0
    fault_rate: float = 0.028
    question_rate: float = 0.012
    wrong_invoice: float = 0.03
    failed_payment: float = 0.03
    ticket_transferred: float = 0.20
    ticket_reopened: float = 0.13
    survey_offered: float = 0.75
    survey_answered: float = 0.22
    leaving_rate: float = 0.0095
    leaving_scale: float = 7.0
    shock_stock_out: float = -7.0
    shock_delay_day: float = -0.5
    shock_installation_late: float = -9.0
    shock_fault: float = -8.0
    shock_wait_hour: float = -0.12
    shock_transfer: float = -4.0
    shock_reopened: float = -9.0
    shock_resolved: float = 4.0
    shock_wrong_invoice: float = -7.0
    shock_failed_payment: float = -3.0


DEFAULTS = Parameters()

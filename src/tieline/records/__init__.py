"""What happened, and what was expected, as frozen structs.

Every record says when it holds (`at`), when we learned it (`known_at`), where it came from (`source`), what
kind of knowledge it is (`kind`) and has a key that makes appending it twice the same as once. A correction
is a new record with a later `known_at`. None means "not known", never zero.

`source` names the origin in words a person can follow: "synthetic", "recorded", "mempool.space",
"site:na-tx-01", "gateway". Anything simulated or estimated says so there or in `kind`.

Files: `market`, `fleet`, `dispatch`, `inference`, `money`, `treasury` and `approval` hold the types, `base` what they
share, `codec` their form as bytes, `gate` what is asked of bytes from outside.
"""

from datetime import datetime, timedelta

from tieline.records.approval import Proposal, ProposalStep
from tieline.records.base import Cause, Kind, Mode, Record, newest_by
from tieline.records.codec import AnyRecord, decode, decode_batch, encode, encode_batch, read_batch, read_record
from tieline.records.dispatch import (
    Action,
    Commitment,
    Instruction,
    Outcome,
    Override,
    PartnerAsk,
    Plan,
    Reason,
    Setpoint,
)
from tieline.records.fleet import Fault, MeterReading, Sample
from tieline.records.gate import Accepted, SetAside, admit, checked, fit
from tieline.records.inference import Backlog, DoorRefusals, Hop, Owed, ReplicaState, Reserved, Usage
from tieline.records.market import (
    Demand,
    ExchangeRate,
    Forecast,
    NetworkTick,
    PeakOdds,
    PriceTick,
    Purchase,
    ReservePrice,
    SystemLoad,
    WeatherTick,
)
from tieline.records.money import (
    EnergyEvidence,
    Opening,
    Payout,
    Performance,
    PoolMethod,
    PowerBill,
    Receipt,
    Shortfall,
    Trade,
)
from tieline.records.treasury import (
    Closing,
    Deployed,
    Equity,
    Issued,
    IssuedLine,
    Journaled,
    JournalLine,
    Loan,
    LoanFlow,
    Operated,
    Payment,
    Pledge,
    PolicyChosen,
    Range,
    RateFixing,
    ReleaseStep,
    Seal,
    Transfer,
    VendorBill,
)

__all__ = [
    "Accepted",
    "Action",
    "AnyRecord",
    "Backlog",
    "Cause",
    "Closing",
    "Commitment",
    "Demand",
    "Deployed",
    "DoorRefusals",
    "EnergyEvidence",
    "Equity",
    "ExchangeRate",
    "Fault",
    "Forecast",
    "Hop",
    "Instruction",
    "Issued",
    "IssuedLine",
    "JournalLine",
    "Journaled",
    "Kind",
    "Loan",
    "LoanFlow",
    "MeterReading",
    "Mode",
    "NetworkTick",
    "Opening",
    "Operated",
    "Outcome",
    "Override",
    "Owed",
    "PartnerAsk",
    "Payment",
    "Payout",
    "PeakOdds",
    "Performance",
    "Plan",
    "Pledge",
    "PolicyChosen",
    "PoolMethod",
    "PowerBill",
    "PriceTick",
    "Proposal",
    "ProposalStep",
    "Purchase",
    "Range",
    "RateFixing",
    "Reason",
    "Receipt",
    "Record",
    "ReleaseStep",
    "ReplicaState",
    "ReservePrice",
    "Reserved",
    "Sample",
    "Seal",
    "SetAside",
    "Setpoint",
    "Shortfall",
    "SystemLoad",
    "Trade",
    "Transfer",
    "Usage",
    "VendorBill",
    "WeatherTick",
    "admit",
    "age",
    "checked",
    "decode",
    "decode_batch",
    "encode",
    "encode_batch",
    "fit",
    "newest_by",
    "read_batch",
    "read_record",
]


def age(record: Record, now: datetime) -> timedelta:
    """How old a reading is; a page shows it beside the number."""
    return now - record.at

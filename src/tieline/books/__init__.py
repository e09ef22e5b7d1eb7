"""What a record means in money: entries, the power bill, the monthly update, invoices. Folds, no I/O."""

from tieline.books.accrue import demand_bill, mean_hashrate_hs, power_bill
from tieline.books.entries import build_book, entries_for
from tieline.books.invoices import Invoice, InvoiceFold, InvoiceLine, invoices
from tieline.books.monthly import Figure, MonthlyUpdate, month_span, monthly_update

__all__ = [
    "Figure",
    "Invoice",
    "InvoiceFold",
    "InvoiceLine",
    "MonthlyUpdate",
    "build_book",
    "demand_bill",
    "entries_for",
    "invoices",
    "mean_hashrate_hs",
    "month_span",
    "monthly_update",
    "power_bill",
]

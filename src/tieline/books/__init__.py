"""What a record means in money: entries, the power bill, the monthly update, invoices. Folds, no I/O."""

from tieline.books.accrue import demand_bill, mean_hashrate_hs, power_bill, sale_of
from tieline.books.entries import entries_for
from tieline.books.invoicing.fold import Invoice, InvoiceFold, InvoiceLine, invoices
from tieline.books.keeper import MONEY, Bookkeeper, Unbookable, build_book
from tieline.books.monthly import Figure, MonthlyUpdate, MonthRecords, monthly_update
from tieline.books.span import known_month, month_before, month_of, month_span

__all__ = [
    "MONEY",
    "Bookkeeper",
    "Figure",
    "Invoice",
    "InvoiceFold",
    "InvoiceLine",
    "MonthRecords",
    "MonthlyUpdate",
    "Unbookable",
    "build_book",
    "demand_bill",
    "entries_for",
    "invoices",
    "known_month",
    "mean_hashrate_hs",
    "month_before",
    "month_of",
    "month_span",
    "monthly_update",
    "power_bill",
    "sale_of",
]

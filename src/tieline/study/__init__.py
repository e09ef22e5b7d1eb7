"""Where the next dollar of capital goes: alternatives for powered sites over years, operated as dispatch would.

From the file to the report: `file` (what is asked and assumed), `drivers` (monthly paths), `surface` (what a site's
dispatch does at each hashprice), `alternatives` (what a choice earns and costs), `money` (debt, cash, returns), `sweep`
(over processes or machines), `results` and `report`. Nothing here is a forecast: paths are assumed, and say so.
"""

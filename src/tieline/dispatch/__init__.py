"""Decides each megawatt: bids cleared under limits and promises, every setpoint with its reason."""

from tieline.dispatch.controller import Controller, mode_of
from tieline.dispatch.inference.gpu import GpuTable, load_table
from tieline.dispatch.inputs.outlook import Outlook, SiteView
from tieline.dispatch.settings import Settings

__all__ = ["Controller", "GpuTable", "Outlook", "Settings", "SiteView", "load_table", "mode_of"]

"""The demo: its fleet, and the hardware that it fakes."""

"""An hour or a month that has ended: hours by cause, performance, the monthly fold."""

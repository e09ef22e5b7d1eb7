"""The data itself: backups, what was set aside, where the records lie."""

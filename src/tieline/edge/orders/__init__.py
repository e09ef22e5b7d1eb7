"""Orders that reach a site by itself: a file, an HTTP hook, a contact or a register, each without link or solver."""

"""ASIC rigs of every make behind one interface: polled on bare sockets, told what to do, recognised by MAC."""

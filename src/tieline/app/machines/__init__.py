"""One platform over several machines: who leads, what each machine is given, one part on one machine."""

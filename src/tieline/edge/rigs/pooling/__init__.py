"""Where rigs are to mine: what two people approved, told to each rig and read back."""

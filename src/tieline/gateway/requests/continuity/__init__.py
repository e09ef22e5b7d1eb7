"""How a stream goes on elsewhere: from its text, from token ids, or made anew and compared."""

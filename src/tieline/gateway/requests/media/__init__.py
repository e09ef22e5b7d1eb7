"""Sound and pictures made or read by engines that offer it: what is asked, how much of it there is, what comes back."""

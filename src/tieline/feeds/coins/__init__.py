"""Where coins come from: what pools state, and what arrives at watched addresses. Read only; no key that moves
coins."""

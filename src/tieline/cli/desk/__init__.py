"""What a power desk asks: plans, markets, peaks, promises, recorded days."""

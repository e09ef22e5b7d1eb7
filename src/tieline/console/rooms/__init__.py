"""The pages, one file each: what a page shows, and what an operator or a tenant may do there."""

"""Static pages and the figures on them."""

"""Generated policies and pictures, and what the reference document says must come of them."""

"""What the pages have of their own: forms, the values that templates show, drawings."""

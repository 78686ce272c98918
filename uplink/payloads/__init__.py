"""How a record is worded for those who read it: one module per payload profile."""

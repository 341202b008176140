"""How many neighbours a setting loses, at which speed and size: measured, with the spread of every figure."""

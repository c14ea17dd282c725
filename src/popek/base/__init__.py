"""Ground floor: fixed-width arithmetic and binary layouts. Imports nothing of Popek."""

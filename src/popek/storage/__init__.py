"""Disks: formats behind one interface. What a guest sees of them is a device's business, not this room's."""

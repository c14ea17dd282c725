"""The hardware's interface (floor 2): what a hart is and what every instruction means, each stated once.

No devices, no engines.
"""

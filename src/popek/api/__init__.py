"""What applications and people call. `spec` describes a machine, `machine` wires it, `actions` is everything one can do."""

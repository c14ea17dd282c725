"""What applications and people call: `spec` describes a machine, `machine` wires it, `actions` is all one can do."""

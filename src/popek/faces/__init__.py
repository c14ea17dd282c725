"""What people and programs touch: thin clothes over `api/actions`. No rule of the machine lives here."""

"""V: vectors. Unprivileged ISA, "V Standard Extension for Vector Operations".

Imported only to execute, compile or name a vector instruction: the rest of Popek knows isa/v.
"""

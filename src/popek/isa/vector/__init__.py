"""V, the vector instructions. Imported only to execute, compile or name one: the rest of Popek knows isa/v."""

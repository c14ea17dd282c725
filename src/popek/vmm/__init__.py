"""The monitor after Popek and Goldberg: dispatcher, allocator, interpreter. In the typed subset throughout."""

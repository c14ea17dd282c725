"""The monitor after Popek and Goldberg: dispatcher, allocator, interpreter. In the typed subset, so that it can be native code."""

"""The optimizing engine: hot regions of guest code compiled by LLVM, beside the template engine that found them.

Lives here: what a region is and how it is compiled (form, graph, lower, text, compile; they run in the worker
process), its packed form (image), and the native side that enters and leaves it. Not here: templates, the TLB.
"""

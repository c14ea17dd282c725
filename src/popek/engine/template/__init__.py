"""The template engine: copy and patch.

LLVM compiles a template per operation and operand shape once; a native translator copies and patches them.
docs/template-engine.md tells how it works.
"""

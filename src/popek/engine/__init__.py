"""Engines: reference (plain Python), step (native, internal), template (copy and patch), and the software TLB.

They run guest code; they decide nothing.
"""

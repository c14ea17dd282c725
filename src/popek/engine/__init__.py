"""Engines: reference (plain Python), step (native, internal), template (copy and patch). They run guest code; they decide nothing."""

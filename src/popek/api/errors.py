"""The errors that callers of the API can get, in one place. They are defined on the ground floor; nothing new here."""

from popek.base.errors import BadImage, BadInput, HostProblem, PopekError

__all__ = ["BadImage", "BadInput", "HostProblem", "PopekError"]

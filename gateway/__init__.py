"""正名网关: the gateway; see README.md."""

from gateway.compiled import use

COMPILED = use()
"""Whether this process runs the hot modules in machine code."""

"""The network, its derivatives, and its files. Knows tensors and graphs, not ASE."""

from __future__ import annotations

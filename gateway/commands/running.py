"""A node, or one part of it: serve."""

import argparse

from gateway import node
from gateway.commands import common


def serve(options: argparse.Namespace) -> int:
    return node.serve(common.load(options), options.config, options.part)

"""Peers for one's own acceptance: simulate."""

import argparse

from gateway.simulator.commands import run_carrier, run_sender


def simulate(options: argparse.Namespace) -> int:
    return run_sender(options) if options.side == "sender" else run_carrier(options)

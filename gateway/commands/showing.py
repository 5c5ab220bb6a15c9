"""A whole node to try: demo."""

import argparse

from gateway import demo as demonstration


def demo(options: argparse.Namespace) -> int:
    return demonstration.run(
        options.dir,
        seconds=options.seconds,
        traffic=not options.no_traffic,
        carriers=demonstration.carriers(options.carrier),
        profile=options.profile,
    )

#!/usr/bin/env python3
"""Reads a latency.hlog with the HdrHistogram package of PyPI and prints what it finds, as JSON: by tag, the count and
quantiles in microseconds of all intervals together. Exits with 3 where the package is missing."""

import json
import sys

try:
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader
except ImportError:
    sys.exit(3)

totals = {}
reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, 3_600_000_000, 2))
while (interval := reader.get_next_interval_histogram()) is not None:
    totals.setdefault(interval.get_tag(), HdrHistogram(1, 3_600_000_000, 2)).add(interval)
print(
    json.dumps(
        {
            tag: {
                "count": total.get_total_count(),
                "p50": total.get_value_at_percentile(50),
                "p99": total.get_value_at_percentile(99),
                "p99.9": total.get_value_at_percentile(99.9),
                "max": total.get_max_value(),
            }
            for tag, total in totals.items()
        }
    )
)

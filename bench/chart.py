"""A bar chart as SVG, which reads on a light and on a dark page."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

NAMES, BARS, ROW, TEXT = 300, 420, 26, 13  # px


def bars(values: Mapping[str, float], title: str, file: Path) -> None:
    """Write a bar for each value, the longest as wide as the chart."""
    most = max(values.values())
    height = ROW * (len(values) + 1) + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{NAMES + BARS + 80}" height="{height}" role="img"'
        f' font-family="sans-serif" font-size="{TEXT}" fill="#7a7f87">',
        f"<title>{escape(title)}</title>",
        f'<text x="8" y="{ROW - 8}" font-weight="bold">{escape(title)}</text>',
    ]
    for row, (name, value) in enumerate(values.items(), start=1):
        top, width = row * ROW + 4, max(1, round(value / most * BARS))
        lines += [
            f'<text x="{NAMES - 8}" y="{top + ROW - 12}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{NAMES}" y="{top}" width="{width}" height="{ROW - 8}" fill="#3b82c4"/>',
            f'<text x="{NAMES + width + 6}" y="{top + ROW - 12}">{value:,.0f}</text>',
        ]
    file.write_text("\n".join([*lines, "</svg>", ""]))

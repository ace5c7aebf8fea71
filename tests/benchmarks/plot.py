"""A curve as an SVG, drawn by hand: no library is needed to look at a cost."""

from collections.abc import Sequence
from math import log10

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 320, 60, 50


def curve(points: Sequence[tuple[int, float]], title: str, across: str, up: str) -> str:
    """The points over a logarithmic axis, from 0 up."""
    low, high = log10(points[0][0]), log10(points[-1][0])
    top = max(value for _, value in points) * 1.2

    def place(number: int, value: float) -> tuple[float, float]:
        x = LEFT + (log10(number) - low) / (high - low) * (WIDTH - LEFT - 30)
        return round(x, 1), round(HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - 40), 1)

    def text(x: float, y: float, words: str, anchor: str = "middle") -> str:
        return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>'

    floor = HEIGHT - BOTTOM
    placed = [place(*point) for point in points]
    path = " ".join(f"{x},{y}" for x, y in placed)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        text(WIDTH / 2, 20, title),
        f'<path d="M{LEFT},36V{floor}H{WIDTH - 20}" fill="none" stroke="#999"/>',
        f'<polyline points="{path}" fill="none" stroke="#1f6feb" stroke-width="2"/>',
        text(WIDTH / 2, HEIGHT - 8, across),
        text(8, 32, up, "start"),
    ]
    for (number, value), (x, y) in zip(points, placed, strict=True):
        parts += [
            f'<circle cx="{x}" cy="{y}" r="3" fill="#1f6feb"/>',
            text(x, y - 9, f"{value:.0f}"),
            text(x, floor + 18, str(number)),
        ]
    return "\n".join([*parts, "</svg>", ""])

"""Drawings as inline SVG: no colours of their own, so that a page's light and dark both fit.

Every chart is 440 units wide, which a phone shows with letters of ten pixels. Classes s0 to s7 are
the colours of series; what a drawing says is said in words too, for who cannot see it.
"""

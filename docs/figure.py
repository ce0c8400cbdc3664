"""Draw the front of a study as an SVG, for the README.

python docs/figure.py studies/digits/export docs/demo.svg
"""

import sys

import energyopt

name, out = sys.argv[1:]
energyopt.load_study(name).plot_front().save(out)

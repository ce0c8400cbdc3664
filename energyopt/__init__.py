"""energyopt: which training setup reaches this accuracy with the least energy?"""

__version__ = "0.1.0"

"""Networks, one file each.

All take the keywords `input_shape` and `num_classes`, refuse samples they do not fit, and name
their last layer `head` (an `nn.Linear`), so that a new one can be put on a trained trunk.
"""

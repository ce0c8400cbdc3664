"""Networks, one file each.

All take the keywords `input_shape` and `num_classes`, raise `ConfigError` for samples of the wrong
shape and for options that are not possible, and name
their last layer `head` (an `nn.Linear`), so that a trained trunk can get a new head.
"""

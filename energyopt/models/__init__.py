"""Networks, one file each.

All take the keywords `input_shape` and `num_classes`, reject samples of the wrong shape, and name
their last layer `head` (an `nn.Linear`), so that a trained trunk can get a new head.
"""

"""Two random views of an image, in JAX: the same program on the host and on the accelerator.

Inside this room an image is float32 `[y, 3, x]` in [0, 1]: the colour planes of one line side by
side, so that resize and blur run along contiguous rows.
"""

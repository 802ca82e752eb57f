"""How good an encoder is: splits, frozen features, heads, floors, intervals, one report."""

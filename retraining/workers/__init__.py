"""Tasks on several workers, on one machine or on many: what they must share, how one starts, which there are."""

"""Places on object storage, as paths: addresses and what is done with them, paths there, and buckets below them."""

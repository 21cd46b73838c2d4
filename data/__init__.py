"""Data sets: downloading, generating, decoding, caching, batching and augmenting images. See data/registry.py."""

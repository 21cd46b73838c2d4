"""Data sets: downloading, generating, decoding, caching, batching and augmenting images. See data/registry.py."""

import vit_environment

vit_environment.require_own("data", "common")

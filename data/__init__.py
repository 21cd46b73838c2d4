"""The data: reading, caching, generating and feeding images in the Tiny ImageNet layout."""

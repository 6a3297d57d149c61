"""The storage contract: names, tar records, codecs, manifests, dataset.json, and reading them back."""

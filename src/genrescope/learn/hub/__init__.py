"""Bundles on the Hugging Face Hub: by name, pulled and pushed."""

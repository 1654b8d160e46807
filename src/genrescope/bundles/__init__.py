"""The room ``bundles``: recognisers that ship with the package."""

"""Training of networks on mel frames: data on the device, the loop, runs and what comes of them."""

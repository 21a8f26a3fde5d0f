"""Services and EndpointSlices to an nftables ruleset: a pure compiler and one atomic apply."""

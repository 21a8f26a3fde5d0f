"""The pod network: bridge, veth, addresses, masquerade, host ports."""

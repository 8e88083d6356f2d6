"""Our HTTP edge beside two well-known gateways, under the same load."""

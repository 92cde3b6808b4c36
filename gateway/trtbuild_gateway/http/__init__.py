"""HTTP between the gateway and its clients."""

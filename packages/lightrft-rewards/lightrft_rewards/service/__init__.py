"""Rewards over HTTP. The server needs the extra lightrft-rewards[service]; the client comes with the kit."""

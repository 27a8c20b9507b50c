"""A PRISM federation on Flower: `server_app` and `client_app` are the Flower app, `cli` the command `prism-fleet`.

All that is federated learning happens in `prism_fl` (Rust). This package carries its bytes, knows which node is which
client, and says who was missing.
"""

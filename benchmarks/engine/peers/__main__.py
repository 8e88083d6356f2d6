"""Installs what is not installed yet: `make engine-peers`."""

from benchmarks.engine.peers import PEERS

for peer in PEERS:
    peer.prepare()

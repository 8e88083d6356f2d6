"""The Redis side of the contract: key names, sealed items, atomic scripts, the gateway's half and the worker's half.

    gateway ── submit ──> sr:work:* ── claim ──> worker ── publish ──> sr:out:{gateway} ──> gateway
       └────── cancel ──> sr:cancels ──────────────┘

One Redis or one primary with replicas; the scripts name keys themselves, so not Redis Cluster.
"""
